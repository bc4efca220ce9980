"""The charts of runs: accuracy against eps, and the course of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from logitpair.report.figures.line_chart import NARROW, PANEL, STYLES, WIDE, Chart, Series, Size, draw
from logitpair.report.records.evaluation import Evaluation
from logitpair.report.records.run import Run
from logitpair.report.text.format import interval, percent, radius, whole_percent

_MOST_POINTS = 240  # of a line; a drawing shows no more
_NOT_TERMS = ("step", "epoch", "lr", "gradient_norm", "images_per_second")
_ACCURACIES = {
    "clean_accuracy": ("clean, training", "clean"),
    "adversarial_accuracy": ("adversarial, training", "adversarial"),
    "validation_clean": ("clean, held out", "clean"),
    "validation_white_box": ("white box, held out", "adversarial"),
}
_STYLES = {"loss": "total", "clean_loss": "clean", "adversarial_loss": "adversarial"}


def accuracy_curves(runs: Sequence[Run]) -> list[Chart]:
    """Accuracy against eps of every run, wide and narrow; none where no run was evaluated at several radii."""
    lines = [(run.main, _eps_line(run.main, run.name, f"run-{i % STYLES}", dashed=i >= STYLES)) for i, run in enumerate(runs) if run.main]
    return [chart for size in (WIDE, NARROW) if (chart := _eps_chart(lines, size))]


def eps_chart(evaluation: Evaluation) -> Chart | None:
    """Accuracy against eps of one evaluation; None where it was not measured at several radii."""
    return _eps_chart([(evaluation, _eps_line(evaluation, evaluation.white_box.attacks[0].name, "adversarial"))], WIDE)


def _eps_line(evaluation: Evaluation, label: str, style: str, *, dashed: bool = False) -> Series:
    return Series(
        label,
        style,
        [(eps, accuracy.top1) for eps, accuracy in evaluation.curve],
        [(accuracy.low, accuracy.high) for _, accuracy in evaluation.curve],
        [f"{label} at eps {radius(eps)}: {percent(a.top1)} ({interval(a.low, a.high)})" for eps, a in evaluation.curve],
        dashed=dashed,
    )


def _eps_chart(lines: Sequence[tuple[Evaluation, Series]], size: Size) -> Chart | None:
    series = [line for _, line in lines if line.points]
    if not any(x > 0 for line in series for x, _ in line.points):
        return None
    radii = {eps for evaluation, _ in lines for eps in evaluation.eps}
    classes = {len(evaluation.class_names) for evaluation, _ in lines}
    x_mark = next(((eps, f"evaluated at {radius(eps)}") for eps in radii), None) if len(radii) == 1 else None
    y_mark = next((1 / count, f"guessing, {percent(1 / count)}") for count in classes) if len(classes) == 1 else None
    ends = ", ".join(f"{line.label} from {percent(line.points[0][1])} to {percent(line.points[-1][1])}" for line in series)
    return draw(
        series,
        title="Accuracy against eps",
        description=f"Accuracy falls as eps grows to {radius(max(x for x, _ in series[0].points))}: {ends}.",
        x_label="eps: how far each pixel may move, of the full range 1",
        width=size[0],
        height=size[1],
        top=1,
        write_y=whole_percent,
        x_mark=x_mark,
        y_mark=y_mark,
    )


def training_charts(metrics: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Accuracy and loss against the epoch; none for a training that logged nothing."""
    names = list(dict.fromkeys(name for line in metrics for name in line))
    terms = [n for n in names if n not in _NOT_TERMS and not n.endswith("_accuracy") and not n.startswith("validation_")]
    others = [name for name in terms if name not in _STYLES]
    styles = _STYLES | {name: f"term-{i % 3}" for i, name in enumerate(others)}
    repeated = len(terms) == 2 and "loss" in terms and all(line["loss"] == line[terms[1]] for line in metrics if "loss" in line)
    losses = [Series(n.replace("_", " "), styles[n], _points(metrics, n)) for n in (terms[:1] if repeated else terms)]
    accuracies = [_accuracy(metrics, name) for name in _ACCURACIES]
    return [
        *_panel(accuracies, "Accuracy during training", top=1, write_y=whole_percent),
        *_panel(losses, "Loss and its terms"),
    ]


def _accuracy(metrics: Sequence[Mapping[str, Any]], name: str) -> Series:
    label, style = _ACCURACIES[name]
    held_out, points = name.startswith("validation"), _points(metrics, name)
    return Series(label, style, points, notes=[f"epoch {x:g}: {percent(y)}" for x, y in points] if held_out else (), dashed=held_out)


def _panel(series: list[Series], title: str, top: float | None = None, write_y: Callable[[float], str] = "{:g}".format) -> list[Chart]:
    series = [line for line in series if line.points]
    if not series or not any(x > 0 for line in series for x, _ in line.points):
        return []
    ends = ", ".join(f"{line.label} ends at {write_y(round(line.points[-1][1], 3))}" for line in series)
    width, height = PANEL
    return [draw(series, title=title, description=f"{ends}.", x_label="epoch", width=width, height=height, top=top, write_y=write_y)]


def _points(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """The finite values of a metric by epoch; those of a long training as means over equal stretches."""
    pairs = [(line.get("epoch"), line.get(name)) for line in metrics]
    points = [(x, y) for x, y in pairs if isinstance(x, int | float) and isinstance(y, int | float) and math.isfinite(y)]
    stretch = math.ceil(len(points) / _MOST_POINTS) or 1
    parts = [points[i : i + stretch] for i in range(0, len(points), stretch)]
    return [(fmean(x for x, _ in part), fmean(y for _, y in part)) for part in parts]
