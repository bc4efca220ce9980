"""From the ledger's columns to the numbers of ``results.json``: a pure function, so that merged parts give what one run gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from logitpair.evaluation.adversarial_cache import name_of
from logitpair.evaluation.attack_run import CURVE, NONE, WHITE_BOX, AttackRun
from logitpair.evaluation.confidence import accuracy
from logitpair.storage.class_path import describe
from logitpair.storage.ledger import Columns

STANDS, WRONG_BEFORE = -1, -2  # in the place of an attack's number
CONFUSION_CLASSES = 50  # up to which the confusion matrix is worth a reader's while


def summarize(trials: Sequence[AttackRun], columns: Columns, seconds: Mapping[str, float], classes: int, kept: bool) -> dict[str, Any]:
    """Clean accuracy, white box and black box: each attack's entry, the worst attack, the union of all, and the curves.

    Args:
        trials: what was done.
        columns: of the whole ledger.
        seconds: each trial's, by its key.
        classes: number of logits.
        kept: whether the adversarial images are, in a folder each.
    """
    y = columns["y"]
    parts: dict[str, dict[str, Any]] = {}
    for victim in dict.fromkeys(trial.victim for trial in trials if trial.victim != CURVE):
        own = [trial for trial in trials if trial.victim == victim]
        entries = {trial.name: entry(trial, columns, seconds[trial.key]) for trial in own}
        for name, share in shares(own, columns).items():
            entries[name]["broken"] = share
        if kept:
            for trial in own:
                entries[trial.name]["images"] = {"folder": name_of(trial.made_by), "eps": trial.attack.threat.eps}
        worst = min(entries, key=lambda name: entries[name]["correct"])
        left = np.all([columns[f"{trial.key}/prediction"] == y for trial in own], axis=0)
        summary = {key: entries[worst][key] for key in ("top1", "correct", "total", "ci95")}
        if "top5" in entries[worst]:
            summary["top5"] = min(entry["top5"] for entry in entries.values())
            summary["top5_is_upper_bound"] = any(entry["top5_is_upper_bound"] for entry in entries.values())
        union = accuracy(left, np.all([columns[f"{trial.key}/top5"] for trial in own], axis=0) if "top5" in summary else None)
        if "top5" in union:
            union["top5_is_upper_bound"] = summary["top5_is_upper_bound"]
        parts[victim] = summary | {"attack": worst, "union": union, "attacks": entries}
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


def entry(trial: AttackRun, columns: Columns, seconds: float) -> dict[str, Any]:
    """An attack's part of ``results.json``."""
    y = columns["y"]
    result: dict[str, Any] = accuracy(columns[f"{trial.key}/prediction"] == y, columns.get(f"{trial.key}/top5"))
    if "top5" in result:
        # a restart is kept for what it did to the first guess
        result["top5_is_upper_bound"] = trial.stops_early or getattr(trial.attack, "restarts", 1) > 1
    course = standing(trial, columns) if trial.is_white_box else None
    return (
        result
        | ({"standing": course} if course else {})
        | {
            "parameters": describe(trial.attack),
            "largest_distance": float(columns[f"{trial.key}/distance"].max()),
            "gradient_evaluations_per_example": float(columns[f"{trial.key}/gradients"].mean()),
            "forward_evaluations_per_example": float(columns[f"{trial.key}/forwards"].mean()),
            "seconds": round(seconds, 3),
        }
    )


def broken(trial: AttackRun, columns: Columns) -> np.ndarray:
    """Which examples the attack broke that the model gets right unperturbed, ``[examples]``."""
    y = columns["y"]
    return (columns["clean/prediction"] == y) & (columns[f"{trial.key}/prediction"] != y)


def first_broken(trials: Sequence[AttackRun], columns: Columns) -> dict[str, np.ndarray]:
    """The ledger's columns about who was first to break each example: the white-box attack by its number, its restart and its step."""
    white_box = [trial for trial in trials if trial.victim == WHITE_BOX]
    examples = len(columns["y"])
    attack = np.where(columns["clean/prediction"] == columns["y"], STANDS, WRONG_BEFORE)
    restart, step = np.full(examples, NONE), np.full(examples, NONE)
    for number, trial in reversed(list(enumerate(white_box))):
        rows = broken(trial, columns)
        attack[rows] = number
        restart[rows], step[rows] = columns[f"{trial.key}/restart"][rows], columns[f"{trial.key}/step"][rows]
    return {"first/attack": attack, "first/restart": restart, "first/step": step}


def shares(trials: Sequence[AttackRun], columns: Columns) -> dict[str, dict[str, int]]:
    """How many examples each of these attacks broke, broke first in their order, and broke alone, by the attack's name."""
    table = np.stack([broken(trial, columns) for trial in trials])
    first = table & (table.cumsum(axis=0) == 1)
    alone = table & (table.sum(axis=0) == 1)
    return {
        trial.name: {"total": int(table[i].sum()), "first": int(first[i].sum()), "alone": int(alone[i].sum())}
        for i, trial in enumerate(trials)
    }


def standing(trial: AttackRun, columns: Columns) -> dict[str, list[int]] | None:
    """How many examples would stand had the attack ended after 0, 1, ... steps of its first restart, or after 1, 2, ... restarts.

    None for an attack that searches to its last step, whose earlier iterates count for nothing, or that cannot tell.
    """
    rows = broken(trial, columns)
    restart, step = columns[f"{trial.key}/restart"][rows], columns[f"{trial.key}/step"][rows]
    if not trial.stops_early or (step < 0).any():
        return None
    right = int((columns["clean/prediction"] == columns["y"]).sum())
    steps = int(getattr(trial.attack, "steps", step.max(initial=0)))
    restarts = int(getattr(trial.attack, "restarts", restart.max(initial=0) + 1))
    in_first = step[restart == 0]
    return {
        "steps": [right - int((in_first <= k).sum()) for k in range(steps + 1)],
        "restarts": [right - int((restart < r).sum()) for r in range(1, restarts + 1)],
    }


def _confusion(y: np.ndarray, prediction: np.ndarray, classes: int) -> list[list[int]]:
    """``[true][predicted]`` counts."""
    counts = np.zeros((classes, classes), dtype=int)
    known = prediction >= 0
    np.add.at(counts, (y[known], prediction[known]), 1)
    return counts.tolist()
