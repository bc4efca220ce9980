"""Sweeps as ``sweep.json`` tells them, without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from logitpair.evaluation.confidence import wilson
from logitpair.sweeps import grid, record

WEIGHTS = (0, 0.5, 2)
PARAMETERS = {"class_path": "logitpair.attacks.PGD", "init_args": {"steps": 40}}


def accuracy(correct: int, total: int = 200) -> dict[str, Any]:
    return {"top1": correct / total, "correct": correct, "total": total, "ci95": list(wilson(correct, total))}


def entry(settings: dict[str, Any], seed: int, held_out: float, white_box: int) -> dict[str, Any]:
    """A finished run's entry: its held-out white-box accuracy, and how many of 200 test images stand."""
    return {
        "path": grid.folder({key: str(value) for key, value in settings.items()}, seed),
        "settings": settings,
        "seed": seed,
        "evaluation": {"examples": 200},
        "status": "finished",
        "message": None,
        "validation_clean": 0.99,
        "validation_white_box": held_out,
        "clean": accuracy(190),
        "white_box": accuracy(white_box) | {"attack": "pgd", "parameters": PARAMETERS},
        "evaluated": "2026-01-02T03:04:05+00:00",
        "seconds": {"training": 60.0, "evaluation": 2.0},
        "hardware": {"device": "cpu", "name": "a processor", "threads": 1},
    }


def make_sweep(folder: Path, recipe: str = "mnist-clp", weights: tuple[float, ...] = WEIGHTS, **changes: Any) -> Path:
    """A sweep over the weight with seeds 0 and 1; weight 2 is best on test images, 0.5 on held-out ones."""
    held_out = {0: 0.2, 0.5: 0.6, 2: 0.4}
    standing = {0: 50, 0.5: 100, 2: 180}
    runs = [entry({"objective.weight": w}, seed, held_out[w] + seed / 10, standing[w] + 10 * seed) for w in weights for seed in (0, 1)]
    head = {"recipe": recipe, "scale": "paper", "overrides": {"epochs": 3}, "seeds": [0, 1]}
    head["axes"] = [{"setting": "objective.weight", "values": list(weights)}]
    record.write(folder, head | changes, runs)
    return folder


def make_level(folder: Path, recipe: str = "mnist-noise") -> Path:
    head = {"recipe": recipe, "scale": "paper", "overrides": {}, "axes": [], "seeds": [0, 1]}
    record.write(folder, head, [entry({}, 0, 0.2, 40), entry({}, 1, 0.3, 60)])
    return folder
