"""Accuracy against a setting: the figure of one sweep or of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from logitpair.errors import InputError
from logitpair.report.figures.plot import RUN_COLOURS, WIDE, Plot, Size
from logitpair.report.records import name_of, ordered
from logitpair.report.text.format import interval, percent, point_text, value_text
from logitpair.storage.results import Spread, SweepResults

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Reference:
    """An accuracy from elsewhere, drawn as a level."""

    label: str  # what it is and whose
    accuracy: float
    recipe: str  # of the sweep it is to be compared with, whose colour it takes


def sweep_plot(sweeps: Sequence[SweepResults], references: Sequence[Reference] = (), *, size: Size = WIDE) -> Plot | None:
    """White-box accuracy on test images against the first axis, evenly spaced so that 0 has room beside 0.01 and 1; None without any.

    A point a run, a line through the means and a band from the lowest to the highest seed. A sweep alone shows its clean accuracy too;
    further axes give a line for each of their combinations, and a sweep without axes is a level.
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
    points = [(point, getattr(point, measure)) for point in sweep.points if _without(setting, point.settings) == rest]
    spreads: list[tuple[float, Spread]] = [
        (x, spread)
        for point, spread in points
        for x in ([ticks.index(point.settings[setting])] if sweep.axes else plot.axes.get_xlim())
        if spread
    ]
    if not spreads:
        return
    plot.line(label, colour, [(x, spread.mean) for x, spread in spreads], band=[(spread.min, spread.max) for _, spread in spreads])
    if sweep.axes:
        runs = [(run, getattr(run, measure)) for run in sweep.runs if _without(setting, run.settings) == rest]
        runs = [(run, accuracy) for run, accuracy in runs if accuracy]
        dots = [(ticks.index(run.settings[setting]), accuracy.top1) for run, accuracy in runs]
        notes = [f"{label}, {point_text(run.settings)}, seed {run.seed}: {percent(a.top1)} ({interval(a)})" for run, a in runs]
        plot.line("", colour, dots, notes=notes, joined=False)


def _without(setting: str, settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != setting}
