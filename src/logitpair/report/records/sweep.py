"""``sweep.json`` as typed values; reading it checks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from logitpair.errors import InputError
from logitpair.report.records.evaluation import Accuracy
from logitpair.report.records.run import portable
from logitpair.report.text.format import call, radius
from logitpair.storage import results
from logitpair.sweeps import record


@dataclass(frozen=True)
class Spread:
    """One measure over the seeds of a point; accuracies as fractions."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SweptRun:
    """A run of the sweep; without results until it is finished."""

    path: str
    settings: Mapping[str, Any]
    seed: int
    status: str
    message: str | None
    held_out: tuple[float, float] | None
    clean: Accuracy | None
    white_box: Accuracy | None
    attack: str | None
    hardware: str | None
    seconds: float


@dataclass(frozen=True)
class Point:
    """A point of the grid: what its finished runs have in common, by measure."""

    settings: Mapping[str, Any]
    runs: int
    finished: int
    spreads: Mapping[str, Spread | None]


@dataclass(frozen=True)
class SweepRecord:
    """A sweep.

    Args:
        name: its recipe.
        path: its folder as commands name it, never absolute.
        scale: of the recipe.
        overrides: settings that differ from the recipe in all runs.
        axes: the values of each setting that varies; none for one point.
        seeds: of training.
        runs: one for each point and seed.
        points: of the grid.
        best: settings of the point with the best held-out white-box accuracy.
    """

    name: str
    path: str
    scale: str
    overrides: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    runs: tuple[SweptRun, ...]
    points: tuple[Point, ...]
    best: Mapping[str, Any] | None

    @property
    def at_scale(self) -> str:
        """Empty for the paper's scale; else what to say behind the sweep's name."""
        return "" if self.scale == "paper" else f" (scale {self.scale})"

    @property
    def chosen(self) -> Point | None:
        """The point that ``best`` names."""
        return next((point for point in self.points if point.settings == self.best), None)

    @property
    def attacks(self) -> list[str]:
        """What the finished runs were evaluated with, without repetition."""
        return list(dict.fromkeys(run.attack for run in self.runs if run.attack))

    @property
    def images(self) -> list[int]:
        """On how many test images the finished runs were evaluated, without repetition."""
        return list(dict.fromkeys(run.white_box.total for run in self.runs if run.white_box))

    @property
    def hardware(self) -> list[str]:
        """What the finished runs were trained on, without repetition."""
        return list(dict.fromkeys(run.hardware for run in self.runs if run.hardware))


def load_sweep(folder: Path) -> SweepRecord:
    """Read a folder that ``logitpair sweep`` wrote; axes of numbers, and their points, by size.

    Raises:
        InputError: if its ``sweep.json`` is missing, damaged or of another schema.
    """
    swept = record.read(folder)
    axes = {axis.setting: ordered(axis.values) for axis in swept.axes}
    try:
        points = sorted(map(_point, swept.points), key=lambda point: [axes[key].index(point.settings[key]) for key in axes])
    except (ValueError, LookupError) as error:
        raise InputError(f"'{folder / 'sweep.json'}' is damaged or incomplete ({error}); run `logitpair sweep` again") from error
    return SweepRecord(
        name=swept.recipe,
        path=portable(folder),
        scale=swept.scale,
        overrides=swept.overrides,
        axes={setting: tuple(values) for setting, values in axes.items()},
        seeds=swept.seeds,
        runs=tuple(map(_run, swept.runs)),
        points=tuple(points),
        best=swept.best.settings if swept.best else None,
    )


def ordered(values: Sequence[Any]) -> list[Any]:
    """Without repetition; numbers by size, anything else as it comes."""
    distinct = [value for i, value in enumerate(values) if value not in values[:i]]
    numbers = all(isinstance(value, int | float) for value in distinct)
    return sorted(distinct) if numbers else distinct


def written(value: Any) -> str:
    """A setting's value as people read it: ``0.5``, ``8/255``, ``PGD(steps=40)``."""
    return radius(value) if isinstance(value, float) else call(value)


def settings_of(point: Mapping[str, Any]) -> str:
    """A point as ``objective.weight = 0.5, epochs = 10``."""
    return ", ".join(f"{setting} = {written(value)}" for setting, value in point.items())


def _run(run: results.SweepRun) -> SweptRun:
    held_out = run.validation_clean, run.validation_white_box
    attacked, hardware = run.white_box, msgspec.to_builtins(run.hardware) if run.hardware else {}
    return SweptRun(
        path=run.path,
        settings=run.settings,
        seed=run.seed,
        status=run.status,
        message=run.message,
        held_out=None if held_out[0] is None or held_out[1] is None else (held_out[0], held_out[1]),
        clean=Accuracy.read(msgspec.to_builtins(run.clean)) if run.clean else None,
        white_box=Accuracy.read(msgspec.to_builtins(attacked)) if attacked else None,
        attack=f"{attacked.attack}: {call(attacked.parameters)}" if attacked else None,
        hardware=" · ".join(f"{key} {value}" for key, value in hardware.items()) or None,
        seconds=run.seconds.training + run.seconds.evaluation if run.seconds else 0.0,
    )


def _point(point: results.SweepPoint) -> Point:
    spreads = {measure: getattr(point, measure) for measure in record.MEASURES}
    return Point(
        settings=point.settings,
        runs=point.runs,
        finished=point.finished,
        spreads={m: Spread(s.mean, s.min, s.max) if s else None for m, s in spreads.items()},
    )
