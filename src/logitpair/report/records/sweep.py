"""``sweep.json`` as typed values; reading it checks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logitpair.errors import InputError
from logitpair.report.records.evaluation import Accuracy
from logitpair.report.records.run import portable
from logitpair.report.text.format import call, radius
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
    content = record.read(folder)
    try:
        best = content["best"]
        axes = {str(axis["setting"]): ordered(axis["values"]) for axis in content["axes"]}
        points = sorted(map(_point, content["points"]), key=lambda point: [axes[key].index(point.settings[key]) for key in axes])
        return SweepRecord(
            name=str(content["recipe"]),
            path=portable(folder),
            scale=str(content["scale"]),
            overrides=dict(content["overrides"]),
            axes={setting: tuple(values) for setting, values in axes.items()},
            seeds=tuple(map(int, content["seeds"])),
            runs=tuple(map(_run, content["runs"])),
            points=tuple(points),
            best=dict(best["settings"]) if best else None,
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"'{folder / 'sweep.json'}' is damaged or incomplete ({error}); run `logitpair sweep` again") from error


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


def _run(entry: Mapping[str, Any]) -> SweptRun:
    done = entry["status"] == "finished"
    return SweptRun(
        path=str(entry["path"]),
        settings=dict(entry["settings"]),
        seed=int(entry["seed"]),
        status=str(entry["status"]),
        message=entry["message"],
        held_out=(float(entry["validation_clean"]), float(entry["validation_white_box"])) if done else None,
        clean=Accuracy.read(entry["clean"]) if done else None,
        white_box=Accuracy.read(entry["white_box"]) if done else None,
        attack=f"{entry['white_box']['attack']}: {call(entry['white_box']['parameters'])}" if done else None,
        hardware=" · ".join(f"{key} {value}" for key, value in entry["hardware"].items()) if done else None,
        seconds=float(sum(entry["seconds"].values())) if done else 0.0,
    )


def _point(entry: Mapping[str, Any]) -> Point:
    spreads = {measure: entry[measure] for measure in record.MEASURES}
    return Point(
        settings=dict(entry["settings"]),
        runs=int(entry["runs"]),
        finished=int(entry["finished"]),
        spreads={m: Spread(float(s["mean"]), float(s["min"]), float(s["max"])) if s else None for m, s in spreads.items()},
    )
