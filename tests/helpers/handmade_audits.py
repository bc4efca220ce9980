"""Audits made by hand, with nothing searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from handmade_runs import ATTACK, CLASSES, HARDWARE, X, accuracy, counts

from logitpair.storage.result_files import write_results
from logitpair.storage.results import AuditResults, DataSet, EpsPoint, Finding, Passes, ReferenceAccuracy, SearchRound

GRID = np.linspace(-1, 1, 5)


def finding(name: str, passed: bool = True, *, blocks: bool = False) -> Finding:
    words = {"check": name, "evidence": f"evidence of {name}", "advice": f"advice of {name}"}
    return Finding(**words, passed=passed, measured={"share": 0.1}, threshold=0.05, blocks=blocks)


def search_round(strategy: str, attacked: int, still_correct: int, gradients: float) -> SearchRound:
    return SearchRound(
        strategy=strategy,
        repetition=0,
        attacked=attacked,
        broken=attacked - still_correct,
        still_correct=still_correct,
        gradients_per_example=gradients,
        forwards_per_example=1.0,
        seconds=0.5,
    )


def reference(correct: int = 122, **changes: Any) -> ReferenceAccuracy:
    known = {"parameters": ATTACK, "measured": True, "gradient_evaluations_per_example": 32.5}
    return ReferenceAccuracy(**(counts(correct) | known | changes))


def audit(still_correct: int = 0, verdict: str = "overestimated", **changes: Any) -> AuditResults:
    """Results of an audit."""
    fields: dict[str, Any] = {
        "schema": 2,
        "name": "audit",
        "created": "2026-01-02T03:04:05+00:00",
        "model": "Net",
        "examples": 200,
        "classes": 3,
        "threat": {"class_path": "logitpair.threat.Linf", "init_args": {"eps": 0.2}},
        "verdict": verdict,
        "reason": "the reason of the verdict",
        "clean": accuracy(193),
        "reference": reference(),
        "robust_accuracy": accuracy(still_correct),
        "robust_accuracy_8_bit": accuracy(still_correct),
        "findings": (finding("steps"), finding("black_box", passed=False), finding("repeatable", passed=False, blocks=True)),
        "rounds": (
            search_round("smooth", 193, still_correct + 60, 4.0),
            search_round("margin", still_correct + 60, still_correct, 6.0),
        ),
        "stop_reason": "every image is broken",
        "converged": True,
        "eps_curve": tuple(EpsPoint(eps=eps, top1=top1, examples=64) for eps, top1 in ((0.0, 1.0), (0.2, 0.5), (1.0, 0.0))),
        "gradient_evaluations_per_example": 6.0,
        "forward_evaluations_per_example": 1.0,
        "checks": Passes(gradient_evaluations_per_example=1.0, forward_evaluations_per_example=1.0),
        "budget": 200.0,
        "seed": 7,
        "precision": "float32",
        "versions": {"torch": "2.13.0"},
        "hardware": HARDWARE,
        "wall_time_seconds": 90.0,
        "data": DataSet(name="pets", split="test", class_names=CLASSES),
        "checkpoint": "last",
    }
    return AuditResults(**(fields | changes))


def ledger(**changes: Any) -> dict[str, np.ndarray]:
    """The content of an audit's ledger.npz; names with ``__`` for the slash."""
    columns = {
        "y": [0, 1, 2],
        "clean/prediction": [0, 1, 0],
        "prediction": [2, 1, 0],
        "gallery/x": X,
        "gallery/x_adv": np.clip(X + 0.2, 0, 1),
        "restarts/margin": [[-1.0, 2.0], [0.5, -3.0]],
        "surface/margin": np.stack([np.broadcast_to(GRID - 0.25, (5, 5)), np.full((5, 5), -1.0)]),
        "surface/position": [0, 1],
    }
    columns |= {name.replace("__", "/"): value for name, value in changes.items()}
    return {name: np.asarray(column) for name, column in columns.items() if column is not None}


def without_figures() -> tuple[AuditResults, dict[str, np.ndarray]]:
    """An audit of a network that gets nothing right."""
    results = audit(0, "trustworthy", clean=accuracy(0), reference=reference(0), rounds=(), eps_curve=())
    return results, ledger(restarts__margin=None, surface__margin=None, surface__position=None)


def add_audit(folder: Path, results: AuditResults | None = None, columns: dict[str, np.ndarray] | None = None) -> Path:
    """The run with an audit."""
    write_results(folder / "audit", results or audit(), ledger() if columns is None else columns)
    return folder
