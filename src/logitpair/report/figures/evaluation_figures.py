"""The figures of evaluations: accuracy against eps, under each attack, and against the length of the search."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from logitpair.report.figures.plot import COLOURS, PANEL, WIDE, Plot, Size, styled
from logitpair.report.text.format import LINF, Ball, balls, curve_norm, interval, percent
from logitpair.storage.results import Accuracy, EvaluationResults

_MOST_MARKED = 24  # a longer line is drawn without points
_ROW, _BAR = 38, 11  # height in CSS pixels of a bar with the line of text above it, and of the bar alone


def evaluation_figures(evaluation: EvaluationResults) -> dict[str, Figure]:
    """The figures of ``Evaluation.plots``, each with title and legend."""
    plots = {
        "attacks": attack_bars(evaluation, width=WIDE[0]),
        "eps": eps_plot([(next(iter(evaluation.parameters)), "bad", evaluation)]),
        "steps": search_plot(evaluation, "steps", size=WIDE),
        "restarts": search_plot(evaluation, "restarts", size=WIDE),
    }
    return {name: plot.titled(f"{plot.title} ({evaluation.name})") for name, plot in plots.items() if plot}


def eps_plot(lines: Sequence[tuple[str, str | int, EvaluationResults]], size: Size = WIDE) -> Plot | None:
    """Accuracy against eps with its 95% interval, a line for each label, colour and evaluation; None without several radii."""
    lines = [line for line in lines if line[2].curve]
    ends = [max(point.eps for point in evaluation.curve) for _, _, evaluation in lines]
    if not any(ends):
        return None
    norms = {curve_norm(evaluation) for _, _, evaluation in lines}
    norm = norms.pop() if len(norms) == 1 else ""
    meaning = ": how far each pixel may move, of the full range 1" if norm == LINF else f": distance in {norm}" if norm else ""
    plot = Plot("Accuracy against eps", size, x_label=f"eps{meaning}", fractions=True)
    plot.axes.set_xlim(0, max(ends))
    for label, colour, evaluation in lines:
        radii = [Ball(point.eps, curve_norm(evaluation)) for point in evaluation.curve]
        each = zip(radii, evaluation.curve, strict=True)
        notes = [f"{label} at eps {ball}: {percent(point.top1)} ({interval(point)})" for ball, point in each]
        points = [(point.eps, point.top1) for point in evaluation.curve]
        plot.line(label, colour, points, band=[point.ci95 for point in evaluation.curve], notes=notes)
    courses = [f"{name} from {percent(run.curve[0].top1)} to {percent(run.curve[-1].top1)}" for name, _, run in lines]
    plot.description = f"Accuracy falls as eps grows to {Ball(max(ends), norm or LINF)}: {', '.join(courses)}."
    evaluated = {ball for _, _, evaluation in lines for ball in balls(evaluation)}
    classes = {evaluation.classes for _, _, evaluation in lines}
    if len(evaluated) == 1:
        ball = evaluated.pop()
        plot.mark(f"evaluated at {ball}", x=ball.eps)
    if len(classes) == 1:
        plot.mark(f"guessing, {percent(1 / max(classes))}", y=1 / max(classes))
    return plot


def attack_bars(evaluation: EvaluationResults, *, width: float = PANEL[0]) -> Plot | None:
    """Accuracy under each white-box attack, between the clean one and that under any of them; None for one attack alone."""
    if len(evaluation.attacks) < 2:
        return None
    rows = [("clean", "good", evaluation.clean), *((name, "bad", attack) for name, attack in evaluation.attacks.items())]
    keys = {"good": "clean", "bad": "under one attack", "ink": "under any of them"}
    return accuracy_bars("Accuracy under each attack", [*rows, ("any attack", "ink", evaluation.white_box_union)], keys, width)


@styled
def accuracy_bars(title: str, rows: Sequence[tuple[str, str, Accuracy]], keys: Mapping[str, str], width: float) -> Plot:
    """A bar with its 95% interval for each label, colour and accuracy, from the top; ``keys`` are the meanings of the colours."""
    height = _ROW * len(rows) + 36
    plot = Plot(title, (width, height), margins=(6, 16, 4, 24))
    plot.description = ", ".join(f"{label} {percent(accuracy.top1)}" for label, _, accuracy in rows) + "."
    axes, letters = plot.axes, int(width / 6.6) - 12
    axes.set(xlim=(0, 1), ylim=(height - 28, 0), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1], xticklabels=["0%", "25%", "50%", "75%", "100%"])
    axes.grid(axis="x")
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.get_xticklabels()[-1].set_horizontalalignment("right")
    words: dict[str, Any] = {"color": COLOURS["ink"], "va": "baseline"}
    for i, (label, colour, accuracy) in enumerate(rows):
        bottom = _ROW * (i + 1)
        shown = label if len(label) <= letters else f"{label[: letters - 1]}\N{HORIZONTAL ELLIPSIS}"
        axes.text(0, bottom - _BAR - 6, shown, **words)
        axes.text(1, bottom - _BAR - 6, percent(accuracy.top1), ha="right", fontweight="bold", **words)
        axes.barh(bottom - _BAR / 2, 1, _BAR, color=COLOURS["shade"])
        (bar,) = axes.barh(bottom - _BAR / 2, accuracy.top1, _BAR, color=COLOURS[colour], alpha=0.75, label=keys[colour])
        plot.note(bar, [f"{label}: {percent(accuracy.top1)} ({interval(accuracy)})"])
        around = [[accuracy.top1 - accuracy.ci95[0]], [accuracy.ci95[1] - accuracy.top1]]
        axes.errorbar(accuracy.top1, bottom - _BAR / 2, xerr=around, ecolor=COLOURS["ink"], elinewidth=1.6, capsize=3.5, capthick=1.6)
    return plot


def search_plot(evaluation: EvaluationResults, what: str, *, size: Size = PANEL) -> Plot | None:
    """Accuracy against the gradient ``steps`` of the first restart or against the ``restarts``, a line for each attack that recorded it."""
    noun, first = ("gradient steps", 0) if what == "steps" else ("restarts", 1)
    plot = Plot(f"Accuracy against {noun}", size, x_label=noun, fractions=True)
    plot.axes.xaxis.set_major_locator(MaxNLocator(8 if size == WIDE else 5, steps=[1, 2, 5, 10], integer=True))
    courses: list[str] = []
    for i, (name, attack) in enumerate(evaluation.attacks.items()):  # so that an attack has the same colour in all figures
        counts = getattr(attack.still_correct, what, ())
        points = [(float(length), count / attack.total) for length, count in enumerate(counts, first)]
        if len(points) < 2:
            continue
        notes = [f"{name}, {x:g} {noun.removesuffix('s') if x == 1 else noun}: {percent(y)}" for x, y in points]
        plot.line(name, i, points, notes=notes if len(points) <= _MOST_MARKED else ())
        (x0, y0), (x1, y1) = points[0], points[-1]
        courses.append(f"{name} from {percent(y0)} at {x0:g} to {percent(y1)} at {x1:g}")
    plot.description = f"{', '.join(courses)}."
    plot.axes.margins(x=0)
    plot.axes.set_xlim(left=0)
    return plot if courses else None
