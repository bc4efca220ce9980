"""From the ledger's columns to the numbers of ``results.json``: pure functions, so that merged chunks give what one process gives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logitpair.evaluation.adversarial_cache import folder_of
from logitpair.evaluation.attack_run import CURVE, UNKNOWN, WHITE_BOX, AttackRun
from logitpair.evaluation.confidence import accuracy
from logitpair.storage.ledger import MISCLASSIFIED, STILL_CORRECT, Columns
from logitpair.storage.results import (
    UNION,
    Accuracy,
    AttackAccuracy,
    AttackInTurn,
    BlackBox,
    Broken,
    CurvePoint,
    KeptImages,
    StillCorrect,
    WorstCase,
)

CONFUSION_CLASSES = 50  # up to which the confusion matrix can be read


def summarize(runs: Sequence[AttackRun], columns: Columns, seconds: Mapping[str, float], classes: int, images_kept: bool) -> dict[str, Any]:
    """Clean accuracy, white box, black box and the curve: these fields of an ``EvaluationResults``."""
    y = columns["y"]
    settings = dict.fromkeys(run.setting for run in runs if run.setting not in (WHITE_BOX, CURVE))
    suites = {setting: _suite([run for run in runs if run.setting == setting], columns, seconds, images_kept) for setting in settings}
    white_box = _in_turn if runs[0].in_turn else _alone
    return {
        "clean": Accuracy(**accuracy(columns["clean/prediction"] == y, columns.get("clean/top5"))),
        **white_box([run for run in runs if run.setting == WHITE_BOX], columns, seconds, classes, images_kept),
        "black_box": suites,
        "curve": tuple(
            CurvePoint(eps=float(run.name), attack=runs[0].name, **accuracy(_correct(run, columns)[run.attacked(len(y))]))
            for run in runs
            if run.setting == CURVE
        ),
    }


def first_broken(runs: Sequence[AttackRun], columns: Columns) -> Columns:
    """What was first to break each example: the white-box attack by its number, its restart and its step."""
    white_box = [run for run in runs if run.setting == WHITE_BOX]
    attack = np.where(columns["clean/prediction"] == columns["y"], STILL_CORRECT, MISCLASSIFIED)
    restart, step = (np.full(len(attack), UNKNOWN) for _ in range(2))
    for number, run in reversed(list(enumerate(white_box))):
        rows = _broken(run, columns)
        attack[rows] = number
        restart[rows], step[rows] = columns[f"{run.column}/restart"][rows], columns[f"{run.column}/step"][rows]
    return {"first/attack": attack, "first/restart": restart, "first/step": step}


def together(runs: Sequence[AttackRun], columns: Columns) -> Columns:
    """The columns where the white box was searched in turn: what its attacks found together, and of each one only what it cost."""
    white_box = [run.column for run in runs if run.setting == WHITE_BOX]
    found = {f"{WHITE_BOX}/{UNION}/{name}": columns.get(f"{white_box[-1]}/{name}") for name in ("prediction", "distance", "top5")}
    found[f"gallery/{WHITE_BOX}/{UNION}"] = columns[f"gallery/{white_box[-1]}"]
    of_one = {f"{column}/{name}" for column in white_box for name in ("prediction", "distance", "top5", "restart", "step")}
    of_one |= {f"gallery/{column}" for column in white_box}
    kept = {name: column for name, column in columns.items() if name not in of_one}
    return kept | {name: column for name, column in found.items() if column is not None}


def _alone(runs: Sequence[AttackRun], columns: Columns, seconds: Mapping[str, float], classes: int, images_kept: bool) -> dict[str, Any]:
    """The white box, each attack of which was run on all images."""
    suite = _suite(runs, columns, seconds, images_kept)
    worst: dict[str, Any] = {name: getattr(suite, name) for name in WorstCase.__struct_fields__}
    prediction = columns[f"{WHITE_BOX}/{suite.attack}/prediction"]
    worst["confusion"] = _confusion(columns["y"], prediction, classes) if classes <= CONFUSION_CLASSES else None
    return {"attacks": suite.attacks, "white_box": WorstCase(**worst), "white_box_union": suite.union}


def _in_turn(runs: Sequence[AttackRun], columns: Columns, seconds: Mapping[str, float], _classes: int, images_kept: bool) -> dict[str, Any]:
    """The white box, each attack of which searched only what those before it left."""
    first, top5 = columns["first/attack"], columns.get(f"{WHITE_BOX}/{UNION}/top5")
    attacks = {
        run.name: AttackInTurn(
            attacked=int(((first == STILL_CORRECT) | (first >= number)).sum()),
            broken=int((first == number).sum()),
            **_cost(run, columns, seconds, images_kept),
        )
        for number, run in enumerate(runs)
    }
    union = accuracy(columns[f"{WHITE_BOX}/{UNION}/prediction"] == columns["y"], top5)
    if top5 is not None:
        union["top5_is_upper_bound"] = any(map(_restarts, runs))
    return {"attacks": {}, "white_box_union": Accuracy(**union), "in_turn": attacks}


def _suite(runs: Sequence[AttackRun], columns: Columns, seconds: Mapping[str, float], images_kept: bool) -> BlackBox:
    """The attacks of one setting together: each one's accuracy, the worst case and the union."""
    broken = np.stack([_broken(run, columns) for run in runs])
    first = broken & (broken.cumsum(axis=0) == 1)
    alone = broken & (broken.sum(axis=0) == 1)
    attacks: dict[str, AttackAccuracy] = {}
    for run, *counts in zip(runs, broken.sum(axis=1), first.sum(axis=1), alone.sum(axis=1), strict=True):
        top5 = columns.get(f"{run.column}/top5")
        attacks[run.name] = AttackAccuracy(
            **accuracy(_correct(run, columns), top5),
            # a restart is kept for what it did to the first guess
            top5_is_upper_bound=None if top5 is None else run.stops_early or _restarts(run),
            largest_distance=float(columns[f"{run.column}/distance"].max()),
            broken=Broken(**dict(zip(("total", "first", "alone"), map(int, counts), strict=True))),
            still_correct=_still_correct(run, columns) if run.is_white_box else None,
            **_cost(run, columns, seconds, images_kept),
        )
    name, worst = min(attacks.items(), key=lambda pair: pair[1].correct)
    lowest: dict[str, Any] = {field: getattr(worst, field) for field in ("top1", "correct", "total", "ci95")}
    union = accuracy(np.all([_correct(run, columns) for run in runs], axis=0))
    if worst.top5 is not None:
        lowest["top5"] = min(attack.top5 for attack in attacks.values() if attack.top5 is not None)
        union["top5"] = float(np.all([columns[f"{run.column}/top5"] for run in runs], axis=0).mean())
        lowest["top5_is_upper_bound"] = union["top5_is_upper_bound"] = any(attack.top5_is_upper_bound for attack in attacks.values())
    return BlackBox(**lowest, attack=name, union=Accuracy(**union), attacks=attacks)


def _cost(run: AttackRun, columns: Columns, seconds: Mapping[str, float], images_kept: bool) -> dict[str, Any]:
    """The attack, what it cost, and where its images are kept."""
    return {
        "parameters": run.cache_key["parameters"],  # from before the run: what a callable object counts tells it from others
        "gradient_evaluations_per_example": float(columns[f"{run.column}/gradients"].mean()),
        "forward_evaluations_per_example": float(columns[f"{run.column}/forwards"].mean()),
        "seconds": round(seconds[run.column], 3),
        "images": KeptImages(folder=folder_of(run.cache_key), eps=float(run.attack.threat.eps)) if images_kept else None,
    }


def _restarts(run: AttackRun) -> bool:
    return getattr(run.attack, "restarts", 1) > 1


def _correct(run: AttackRun, columns: Columns) -> NDArray[np.bool_]:
    return columns[f"{run.column}/prediction"] == columns["y"]


def _broken(run: AttackRun, columns: Columns) -> NDArray[np.bool_]:
    """Which examples the attack broke that the model gets right unperturbed."""
    return (columns["clean/prediction"] == columns["y"]) & ~_correct(run, columns)


def _still_correct(run: AttackRun, columns: Columns) -> StillCorrect | None:
    """None for an attack that searches to its last step, whose earlier iterates count for nothing, or that does not know its steps.

    Whether one without ``restarts`` knows them shows only where it broke something.
    """
    rows = _broken(run, columns)
    restart, step = columns[f"{run.column}/restart"][rows], columns[f"{run.column}/step"][rows]
    if not run.stops_early or (step < 0).any() or not (len(step) or hasattr(run.attack, "restarts")):
        return None
    clean = int((columns["clean/prediction"] == columns["y"]).sum())
    steps = int(step.max(initial=getattr(run.attack, "steps", 0)))  # an attack may take others before its ``steps``
    restarts = int(getattr(run.attack, "restarts", restart.max(initial=0) + 1))
    in_first = step[restart == 0]
    return StillCorrect(
        steps=tuple(clean - int((in_first <= k).sum()) for k in range(steps + 1)),
        restarts=tuple(clean - int((restart < r).sum()) for r in range(1, restarts + 1)),
    )


def _confusion(y: np.ndarray, prediction: np.ndarray, classes: int) -> tuple[tuple[int, ...], ...]:
    """``[true][predicted]`` counts."""
    counts = np.zeros((classes, classes), dtype=int)
    known = prediction >= 0
    np.add.at(counts, (y[known], prediction[known]), 1)
    return tuple(map(tuple, counts.tolist()))
