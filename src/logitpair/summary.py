"""From the ledger's columns to the numbers of ``results.json``: a pure function, so that merged parts give what one run gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from logitpair.describe import describe
from logitpair.statistics import accuracy
from logitpair.trials import CURVE, WHITE_BOX, Trial

CONFUSION_CLASSES = 50  # up to which the confusion matrix is worth a reader's while


def summarize(trials: Sequence[Trial], columns: Mapping[str, np.ndarray], seconds: Mapping[str, float], classes: int) -> dict[str, Any]:
    """Clean accuracy, white box and black box: each attack's entry, the worst attack, the union of all, and the curves.

    Args:
        trials: what was done.
        columns: of the whole ledger.
        seconds: each trial's, by its key.
        classes: number of logits.
    """
    y = columns["y"]
    parts: dict[str, dict[str, Any]] = {}
    for victim in dict.fromkeys(trial.victim for trial in trials if trial.victim != CURVE):
        own = [trial for trial in trials if trial.victim == victim]
        entries = {trial.name: entry(trial, columns, seconds[trial.key]) for trial in own}
        worst = min(entries, key=lambda name: entries[name]["correct"])
        standing = np.all([columns[f"{trial.key}/prediction"] == y for trial in own], axis=0)
        summary = {key: entries[worst][key] for key in ("top1", "correct", "total", "ci95")}
        if "top5" in entries[worst]:
            summary["top5"] = min(entry["top5"] for entry in entries.values())
        parts[victim] = summary | {"attack": worst, "union": accuracy(standing), "attacks": entries}
    white_box = parts.pop(WHITE_BOX)
    if classes <= CONFUSION_CLASSES:
        white_box["confusion"] = _confusion(y, columns[f"{WHITE_BOX}/{white_box['attack']}/prediction"], classes)
    first = next(trial.name for trial in trials if trial.victim == WHITE_BOX)
    return {
        "clean": accuracy(columns["clean/prediction"] == y, columns.get("clean/top5")),
        "attacks": white_box.pop("attacks"),
        "white_box_union": white_box.pop("union"),
        "white_box": white_box,
        "black_box": parts,
        "curve": [
            {"eps": float(trial.name), "attack": first, **accuracy((columns[f"{trial.key}/prediction"] == y)[: trial.examples])}
            for trial in trials
            if trial.victim == CURVE
        ],
    }


def entry(trial: Trial, columns: Mapping[str, np.ndarray], seconds: float) -> dict[str, Any]:
    """An attack's part of ``results.json``."""
    y = columns["y"]
    result = accuracy(columns[f"{trial.key}/prediction"] == y, columns.get(f"{trial.key}/top5"))
    if "top5" in result:
        result["top5_is_upper_bound"] = trial.stops_early
    return result | {
        "parameters": describe(trial.attack),
        "largest_distance": float(columns[f"{trial.key}/distance"].max()),
        "gradient_evaluations_per_example": float(columns[f"{trial.key}/gradients"].mean()),
        "forward_evaluations_per_example": float(columns[f"{trial.key}/forwards"].mean()),
        "seconds": round(seconds, 3),
    }


def _confusion(y: np.ndarray, prediction: np.ndarray, classes: int) -> list[list[int]]:
    """``[true][predicted]`` counts."""
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (y, prediction), 1)
    return counts.tolist()
