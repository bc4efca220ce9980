"""A sweep, read for the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from logitpair.report.text.format import call, pairs
from logitpair.storage.results import SweepPoint, SweepResults
from logitpair.sweeps import record


def load_sweep(folder: Path) -> SweepResults:
    """Read a folder that ``logitpair sweep`` wrote; axes of numbers, and their points, by size.

    Raises:
        InputError: if its ``sweep.json`` is missing, damaged or of another schema.
    """
    sweep = record.read(folder)
    axes = tuple(replace(axis, values=tuple(ordered(axis.values))) for axis in sweep.axes)
    points = sorted(sweep.points, key=lambda point: [axis.values.index(point.settings[axis.setting]) for axis in axes])
    return replace(sweep, axes=axes, points=tuple(points))


def ordered(values: Sequence[Any]) -> list[Any]:
    """Without repetition; numbers by size, anything else as it comes."""
    distinct = [value for i, value in enumerate(values) if value not in values[:i]]
    return sorted(distinct) if all(isinstance(value, int | float) for value in distinct) else distinct


def name_of(sweep: SweepResults) -> str:
    """Its recipe, and the scale where it is not the paper's."""
    return sweep.recipe if sweep.scale == "paper" else f"{sweep.recipe} (scale {sweep.scale})"


def best_point(sweep: SweepResults) -> SweepPoint | None:
    """The point to choose."""
    return next((point for point in sweep.points if sweep.best and point.settings == sweep.best.settings), None)


def attacks_and_hardware(sweeps: Sequence[SweepResults]) -> tuple[list[str], list[str]]:
    """What the finished runs were evaluated with, and trained on, without repetition."""
    runs = [run for sweep in sweeps for run in sweep.runs]
    attacks = [f"{run.white_box.attack}: {call(run.white_box.parameters)}" for run in runs if run.white_box]
    hardware = [pairs(run.hardware) for run in runs if run.hardware]
    return list(dict.fromkeys(attacks)), list(dict.fromkeys(hardware))
