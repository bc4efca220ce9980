"""The charts of one evaluation: accuracy under each attack, and against the length of the search."""

from __future__ import annotations

from collections.abc import Callable

from logitpair.report.figures.bar_chart import Bars, draw_bars
from logitpair.report.figures.line_chart import PANEL, STYLES, Chart, Series, Size, draw
from logitpair.report.records.evaluation import Attacked, Evaluation
from logitpair.report.text.format import percent, whole_percent

_DOTS = 24  # a longer line is drawn without points
_KEYS = (("clean", "clean"), ("adversarial", "under one attack"), ("total", "under any of them"))


def attack_bars(evaluation: Evaluation, *, width: float = PANEL[0]) -> Bars | None:
    """Accuracy under each white-box attack, between the clean one and what stands under all of them; None for one attack alone."""
    suite = evaluation.white_box
    if len(suite.attacks) < 2:
        return None
    rows = [
        ("clean", "clean", evaluation.clean),
        *((attack.name, "adversarial", attack.accuracy) for attack in suite.attacks),
        ("any attack", "total", suite.union),
    ]
    description = ", ".join(f"{label} {percent(accuracy.top1)}" for label, _, accuracy in rows)
    return draw_bars(rows, title="Accuracy under each attack", description=f"{description}.", keys=_KEYS, width=width)


def steps_chart(evaluation: Evaluation, *, size: Size = PANEL) -> Chart | None:
    """Accuracy against the gradient steps of the first restart, a line an attack; None where no attack tells it."""
    return _search(evaluation, lambda attack: list(enumerate(attack.standing.steps)), "gradient steps", "step", size)


def restarts_chart(evaluation: Evaluation, *, size: Size = PANEL) -> Chart | None:
    """Accuracy against the number of restarts, a line an attack; None where no attack has several and tells it."""
    return _search(evaluation, lambda attack: list(enumerate(attack.standing.restarts, start=1)), "restarts", "restart", size)


def _search(evaluation: Evaluation, counts: Callable[[Attacked], list[tuple[int, int]]], what: str, one: str, size: Size) -> Chart | None:
    """The chart of ``counts``: (how long the search, how many images still stand)."""
    series: list[Series] = []
    for i, attack in enumerate(evaluation.white_box.attacks):  # so that an attack has the same colour in all charts
        points = [(float(length), standing / attack.accuracy.total) for length, standing in counts(attack)]
        if len(points) < 2:
            continue
        notes = [f"{attack.name}, {x:g} {one if x == 1 else what}: {percent(y)}" for x, y in points]
        series.append(Series(attack.name, f"run-{i % STYLES}", points, notes=notes if len(points) <= _DOTS else (), dashed=i >= STYLES))
    if not series:
        return None
    courses = [(line.label, *line.points[0], *line.points[-1]) for line in series]
    ends = ", ".join(f"{name} from {percent(first)} at {x0:g} to {percent(last)} at {x1:g}" for name, x0, first, x1, last in courses)
    return draw(
        series,
        title=f"Accuracy against {what}",
        description=f"{ends}.",
        x_label=what,
        width=size[0],
        height=size[1],
        top=1,
        write_y=whole_percent,
        x_counts=True,
    )
