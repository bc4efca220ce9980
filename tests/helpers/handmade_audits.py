"""Audits made by hand, with nothing searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from handmade_runs import ATTACK, CLASSES, X, entry

from logitpair.storage.schema1 import write_files

GRID = np.linspace(-1, 1, 5)


def check(name: str, passed: bool = True, *, blocks: bool = False) -> dict[str, Any]:
    """A finding's entry."""
    words = {"check": name, "evidence": f"evidence of {name}", "advice": f"advice of {name}"}
    return words | {"passed": passed, "measured": {"share": 0.1}, "threshold": 0.05, "blocks": blocks}


def turn(arm: str, attacked: int, standing: int, gradients: float) -> dict[str, Any]:
    """A round's entry."""
    counts = {"attacked": attacked, "broken": attacked - standing, "standing": standing}
    return counts | {"arm": arm, "turn": 0, "gradients_per_example": gradients, "forwards_per_example": 1.0, "seconds": 0.5}


def audited(standing: int = 0, verdict: str = "overestimated", **changes: Any) -> dict[str, Any]:
    """The content of an audit's results.json."""
    return {
        "schema": 1,
        "kind": "audit",
        "name": "audit",
        "created": "2026-01-02T03:04:05+00:00",
        "examples": 200,
        "classes": 3,
        "threat": {"class_path": "logitpair.threat.Linf", "init_args": {"eps": 0.2}},
        "verdict": verdict,
        "reason": "the reason of the verdict",
        "clean": entry(193),
        "protocol": entry(122) | {"parameters": ATTACK, "measured": True, "gradient_evaluations_per_example": 32.5},
        "robust_accuracy": entry(standing),
        "robust_accuracy_8_bit": entry(standing),
        "findings": [check("steps"), check("black_box", passed=False), check("repeatable", passed=False, blocks=True)],
        "rounds": [turn("smooth", 193, standing + 60, 4.0), turn("margin", standing + 60, standing, 6.0)],
        "stopped": "every image is broken",
        "settled": True,
        "eps_curve": [{"eps": eps, "top1": top1, "examples": 64} for eps, top1 in ((0.0, 1.0), (0.2, 0.5), (1.0, 0.0))],
        "gradient_evaluations_per_example": 6.0,
        "budget": 200.0,
        "seed": 7,
        "versions": {"torch": "2.13.0"},
        "hardware": {"name": "a processor"},
        "wall_time_seconds": 90.0,
        "data": {"name": "pets", "class_names": CLASSES},
        "sources": {},
        "checkpoint": "last",
    } | changes


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


def no_pictures() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """An audit of a network that gets nothing right."""
    without = {"clean": entry(0), "protocol": audited()["protocol"] | entry(0), "rounds": [], "eps_curve": []}
    return audited(0, "trustworthy", **without), ledger(restarts__margin=None, surface__margin=None, surface__position=None)


def add_audit(folder: Path, content: dict[str, Any] | None = None, columns: dict[str, np.ndarray] | None = None) -> Path:
    """The run with an audit."""
    write_files(folder / "audit", content or audited(), ledger() if columns is None else columns)
    return folder
