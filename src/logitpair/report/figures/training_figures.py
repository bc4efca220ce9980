"""The course of a training: accuracy and loss against the epoch."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from logitpair.report.figures.plot import Plot
from logitpair.report.text.format import percent

_MOST_POINTS = 240  # of a line; a figure shows no more
_NOT_TERMS = ("step", "epoch", "lr", "gradient_norm", "images_per_second")
_ACCURACIES = {
    "clean_accuracy": ("clean, training", "good"),
    "adversarial_accuracy": ("adversarial, training", "bad"),
    "validation_clean": ("clean, held out", "good"),
    "validation_white_box": ("white box, held out", "bad"),
}
_TERMS = {"loss": "ink", "clean_loss": "good", "adversarial_loss": "bad"}
_FURTHER_TERMS = ("run-4", "run-0", "run-5")


def training_plots(metrics: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Accuracy and loss against the epoch, from the lines of ``metrics.jsonl``; none for a training that logged nothing."""
    names = dict.fromkeys(name for line in metrics for name in line)
    terms = [n for n in names if n not in _NOT_TERMS and not n.endswith("_accuracy") and not n.startswith("validation_")]
    if len(terms) == 2 and all(line.get(terms[0]) == line.get(terms[1]) for line in metrics):
        terms = terms[:1]  # the one term is the loss
    colours = iter(_FURTHER_TERMS * len(terms))
    losses = [(name, name.replace("_", " "), _TERMS.get(name) or next(colours)) for name in terms]
    accuracies = [(name, *known) for name, known in _ACCURACIES.items()]
    plots = [_plot("Accuracy during training", metrics, accuracies, fractions=True), _plot("Loss and its terms", metrics, losses)]
    return [plot for plot in plots if plot]


def _plot(
    title: str, metrics: Sequence[Mapping[str, Any]], lines: Sequence[tuple[str, str, str]], *, fractions: bool = False
) -> Plot | None:
    """A line for each name, label and colour; None where nothing was logged after the begin of the training."""
    plot, end, ends = Plot(title, x_label="epoch", fractions=fractions), 0.0, list[str]()
    for name, label, colour in lines:
        if points := _points(metrics, name):
            held_out = name.startswith("validation")
            notes = [f"epoch {x:g}: {percent(y)}" for x, y in points] if held_out else ()
            plot.line(label, colour, points, notes=notes, dotted=held_out)
            x, y = points[-1]
            end = max(end, x)
            ends.append(f"{label} ends at {percent(y) if fractions else f'{y:.3g}'}")
    if end <= 0:
        return None
    plot.axes.set_xlim(0, math.ceil(end) if end >= 1 else end)
    plot.axes.set_ylim(bottom=0)
    plot.description = f"{', '.join(ends)}."
    return plot


def _points(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """The finite values of a metric by epoch; those of a long training as means over equal stretches."""
    pairs = [(line.get("epoch"), line.get(name)) for line in metrics]
    points = [(x, y) for x, y in pairs if isinstance(x, int | float) and isinstance(y, int | float) and math.isfinite(y)]
    stretch = math.ceil(len(points) / _MOST_POINTS) or 1
    chunks = [points[i : i + stretch] for i in range(0, len(points), stretch)]
    return [(fmean(x for x, _ in chunk), fmean(y for _, y in chunk)) for chunk in chunks]
