"""Accuracy against a setting: the figure of one sweep or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from logitpair.errors import InputError
from logitpair.report.figures.plot import RUN_COLOURS, WIDE, Plot, Size
from logitpair.report.records.sweep import name_of, ordered
from logitpair.report.text.format import interval, percent, point_text, value_text
from logitpair.storage.results import SweepResults

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Reference:
    """An accuracy from elsewhere, drawn as a level.

    Args:
        label: what it is and whose.
        accuracy: a fraction.
        recipe: of the sweep it is to be compared with, whose colour it takes.
    """

    label: str
    accuracy: float
    recipe: str


def sweep_plot(sweeps: Sequence[SweepResults], references: Sequence[Reference] = (), *, size: Size = WIDE) -> Plot | None:
    """White-box accuracy on test images against the first axis, evenly spaced so that 0 has room beside 0.01 and 1.

    A point a run, a line through the means and a band from the lowest to the highest seed. A sweep alone shows its clean accuracy too;
    further axes give a line for each of their combinations, and a sweep without axes is a level.

    Returns:
        The plot; None while no run is finished.

    Raises:
        InputError: for sweeps over different settings.
    """
    settings = list(dict.fromkeys(sweep.axes[0].setting for sweep in sweeps if sweep.axes))
    if len(settings) > 1:
        raise InputError(f"RUN: these sweeps vary different settings ({', '.join(settings)}), which no one axis can show; draw each alone")
    setting = settings[0] if settings else ""
    ticks = ordered([value for sweep in sweeps for value in (sweep.axes[0].values if sweep.axes else ())])
    lines = [(sweep, rest) for sweep in sweeps for rest in ordered([_without(setting, point.settings) for point in sweep.points])]
    alone = len(lines) == 1
    title = ("Accuracy" if alone else "White-box accuracy") + (f" against {setting}" if setting else "")
    plot = Plot(title, size, x_label=f"{setting} (evenly spaced)" if setting else "", fractions=True)
    end = max(1, len(ticks)) - 0.5
    plot.axes.set(xlim=(-0.5, end), xticks=range(len(ticks)), xticklabels=[value_text(tick) for tick in ticks])
    for i, (sweep, rest) in enumerate(lines):
        label = name_of(sweep) + (f", {point_text(rest)}" if rest else "")
        if alone:
            _add(plot, sweep, rest, ticks, "clean", "clean", "good")
        _add(plot, sweep, rest, ticks, "white_box", "white box" if alone else label, "bad" if alone else i % RUN_COLOURS)
    if not plot.axes.lines:
        return None
    first = plot.axes.lines[0]
    plot.description = f"{first.get_label()}: {', '.join(map(percent, np.asarray(first.get_ydata())))}."
    colours = {sweep.recipe: i % RUN_COLOURS for i, (sweep, _) in enumerate(lines)}
    for level in references:
        plot.line(level.label, colours.get(level.recipe, "ink"), [(x, level.accuracy) for x in (-0.5, end)], dotted=True)
    return plot


def _add(plot: Plot, sweep: SweepResults, rest: Settings, ticks: Sequence[Any], measure: str, label: str, colour: str | int) -> None:
    """The line through the means with its band, and the runs; a level for a sweep without axes."""
    setting = sweep.axes[0].setting if sweep.axes else ""
    points = [point for point in sweep.points if _without(setting, point.settings) == rest and getattr(point, measure)]
    spreads = [getattr(point, measure) for point in points]
    if not spreads:
        return
    if not sweep.axes:
        xs, spreads = [*plot.axes.get_xlim()], spreads * 2
    else:
        xs = [float(ticks.index(point.settings[setting])) for point in points]
    means = [(x, spread.mean) for x, spread in zip(xs, spreads, strict=True)]
    plot.line(label, colour, means, band=[(spread.min, spread.max) for spread in spreads])
    runs = [(run, getattr(run, measure)) for run in sweep.runs if sweep.axes and _without(setting, run.settings) == rest]
    runs = [(run, accuracy) for run, accuracy in runs if accuracy]
    notes = [f"{label}, {point_text(run.settings)}, seed {run.seed}: {percent(a.top1)} ({interval(a)})" for run, a in runs]
    if runs:
        dots = [(float(ticks.index(run.settings[setting])), accuracy.top1) for run, accuracy in runs]
        plot.line("", colour, dots, notes=notes, joined=False)


def _without(setting: str, settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != setting}
