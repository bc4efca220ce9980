"""Sweeps as ``sweep.json`` holds them, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from logitpair.evaluation.confidence import wilson
from logitpair.storage.results import SCHEMA, Accuracy, AttackedTest, Axis, Hardware, RunSeconds, SweepResults, SweepRun
from logitpair.sweeps import grid, record

WEIGHTS = (0, 0.5, 2)
PARAMETERS = {"class_path": "logitpair.attacks.PGD", "init_args": {"steps": 40}}


def accuracy(correct: int, total: int = 200) -> dict[str, Any]:
    return {"top1": correct / total, "correct": correct, "total": total, "ci95": wilson(correct, total)}


def entry(settings: dict[str, Any], seed: int, held_out: float, white_box: int) -> SweepRun:
    """A finished run: its held-out white-box accuracy, and how many of 200 test images are still correct."""
    return SweepRun(
        path=grid.folder({key: str(value) for key, value in settings.items()}, seed),
        settings=settings,
        seed=seed,
        evaluation={"examples": 200},
        status="finished",
        validation_clean=0.99,
        validation_white_box=held_out,
        clean=Accuracy(**accuracy(190)),
        white_box=AttackedTest(**accuracy(white_box), attack="pgd", parameters=PARAMETERS),
        evaluated="2026-01-02T03:04:05+00:00",
        seconds=RunSeconds(training=60.0, evaluation=2.0),
        hardware=Hardware(device="cpu", name="a processor", threads=1),
    )


def failed_entry(settings: dict[str, Any], seed: int, message: str) -> SweepRun:
    path = grid.folder({key: str(value) for key, value in settings.items()}, seed)
    return SweepRun(path=path, settings=settings, seed=seed, evaluation={"examples": 200}, status="failed", message=message)


def head(recipe: str, axes: Mapping[str, Sequence[Any]], seeds: Sequence[int] = (0, 1), **overrides: Any) -> SweepResults:
    return SweepResults(
        schema=SCHEMA,
        recipe=recipe,
        scale="paper",
        overrides=overrides,
        axes=tuple(Axis(setting=setting, values=tuple(values)) for setting, values in axes.items()),
        seeds=tuple(seeds),
        runs=(),
        points=(),
    )


def make_sweep(folder: Path, recipe: str = "mnist-clp", weights: tuple[float, ...] = WEIGHTS, scale: str = "paper") -> Path:
    """A sweep over the weight with seeds 0 and 1; weight 2 is best on test images, 0.5 on held-out ones."""
    held_out = {0: 0.2, 0.5: 0.6, 2: 0.4}
    correct = {0: 50, 0.5: 100, 2: 180}
    runs = [entry({"objective.weight": w}, seed, held_out[w] + seed / 10, correct[w] + 10 * seed) for w in weights for seed in (0, 1)]
    record.write(folder, replace(head(recipe, {"objective.weight": weights}, epochs=3), scale=scale), runs)
    return folder


def make_level(folder: Path, recipe: str = "mnist-noise", scale: str = "paper") -> Path:
    record.write(folder, replace(head(recipe, {}), scale=scale), [entry({}, 0, 0.2, 40), entry({}, 1, 0.3, 60)])
    return folder
