"""Accuracy against a setting: the chart of one sweep or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from logitpair.errors import InputError
from logitpair.report.figures.line_chart import STYLES, WIDE, Chart, Series, Size, draw
from logitpair.report.records.evaluation import Accuracy
from logitpair.report.records.sweep import SweepRecord, SweptRun, ordered, settings_of, written
from logitpair.report.text.format import interval, percent, whole_percent

_MEASURES = {"clean": "clean", "white_box": "adversarial"}  # of a sweep alone: the colour of each


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


def accuracy_chart(sweeps: Sequence[SweepRecord], references: Sequence[Reference] = (), *, size: Size = WIDE) -> Chart | None:
    """White-box accuracy on test images against the first axis, evenly spaced so that 0 has its place beside 0.01 and 1.

    A point a run, a line through the means and a band from the lowest to the highest seed. A sweep alone shows its clean accuracy too;
    further axes give a line for each of their combinations, and a sweep without axes is a level.

    Returns:
        The chart; None while no run is finished.

    Raises:
        InputError: for sweeps over different settings.
    """
    settings = list(dict.fromkeys(next(iter(sweep.axes)) for sweep in sweeps if sweep.axes))
    if len(settings) > 1:
        raise InputError(f"RUN: these sweeps vary different settings ({', '.join(settings)}), which no one axis can show; draw each alone")
    setting = settings[0] if settings else ""
    ticks = ordered([value for sweep in sweeps for value in sweep.axes.get(setting, ())])
    lines = [(sweep, rest) for sweep in sweeps for rest in _rests(sweep)]
    measures = _MEASURES if len(lines) == 1 else {"white_box": ""}
    series: list[Series] = []
    for i, (sweep, rest) in enumerate(lines):
        for measure, style in measures.items():
            label = (
                measure.replace("_", " ") if len(lines) == 1 else sweep.name + sweep.at_scale + (f", {settings_of(rest)}" if rest else "")
            )
            series += _line(sweep, rest, setting, ticks, measure, label, style or f"run-{i % STYLES}")
    if not series:
        return None
    first = f"{series[0].label}: {', '.join(percent(y) for _, y in series[0].points)}"
    styles = {sweep.name: f"run-{i % STYLES}" for i, (sweep, _) in enumerate(lines)}
    for level in references:
        ends = [(x, level.accuracy) for x in (0.0, float(max(1, len(ticks))))]
        series.append(Series(level.label, styles.get(level.recipe, "total"), ends, dashed=True))
    return draw(
        series,
        title=("Accuracy" if len(lines) == 1 else "White-box accuracy") + (f" against {setting}" if setting else ""),
        description=f"From {written(ticks[0])} to {written(ticks[-1])}, {first}." if ticks else f"{first}.",
        x_label=f"{setting} (evenly spaced)" if setting else "",
        width=size[0],
        height=size[1],
        top=1,
        write_y=whole_percent,
        categories=[written(tick) for tick in ticks] or [""],
    )


def _line(
    sweep: SweepRecord, rest: Mapping[str, Any], setting: str, ticks: Sequence[Any], measure: str, label: str, style: str
) -> list[Series]:
    """The line through the means, and the points of the runs; a level for a sweep that does not vary the setting."""
    spreads = [(p.settings, s) for p in sweep.points if _rest(p.settings, setting) == rest and (s := p.spreads[measure])]
    if not spreads:
        return []
    if not sweep.axes:
        _, level = spreads[0]
        ends = (0.0, float(max(1, len(ticks))))
        return [Series(label, style, [(x, level.mean) for x in ends], [(level.low, level.high)] * 2)]

    def across(settings: Mapping[str, Any]) -> float:
        return ticks.index(settings[setting]) + 0.5

    spreads.sort(key=lambda pair: across(pair[0]))
    runs = [(run, a) for run in sweep.runs if _rest(run.settings, setting) == rest and (a := _accuracy(run, measure))]
    notes = [f"{label}, {settings_of(run.settings)}, seed {run.seed}: {percent(a.top1)} ({interval(a.low, a.high)})" for run, a in runs]
    return [
        Series(label, style, [(across(at), spread.mean) for at, spread in spreads], [(spread.low, spread.high) for _, spread in spreads]),
        Series("", style, [(across(run.settings), accuracy.top1) for run, accuracy in runs], notes=notes, joined=False),
    ]


def _accuracy(run: SweptRun, measure: str) -> Accuracy | None:
    return run.clean if measure == "clean" else run.white_box


def _rests(sweep: SweepRecord) -> list[dict[str, Any]]:
    """The combinations of the axes other than the first."""
    first = next(iter(sweep.axes), "")
    rests = [_rest(point.settings, first) for point in sweep.points]
    return [rest for i, rest in enumerate(rests) if rest not in rests[:i]]


def _rest(settings: Mapping[str, Any], setting: str) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != setting}
