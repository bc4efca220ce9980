"""Accuracies with their uncertainty."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054  # the 97.5% quantile of the normal distribution


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95% confidence interval of a proportion (Wilson 1927): what the accuracy on all images could be, given these.

    Args:
        correct: how many of the examples.
        total: how many examples, at least 1.
    """
    p, z2 = correct / total, _Z**2 / total
    centre = (p + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(p * (1 - p) / total + z2 / (4 * total)) / (1 + z2)
    return (centre - half if correct else 0.0), (centre + half if correct < total else 1.0)  # rounding would miss 0 and 1


def accuracy(correct: NDArray[np.bool_], top5: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """``top1`` (a fraction), its integer counts and its 95% interval; ``top5`` where given."""
    hits, total = int(correct.sum()), len(correct)
    result: dict[str, Any] = {"top1": hits / total, "correct": hits, "total": total, "ci95": list(wilson(hits, total))}
    if top5 is not None:
        result["top5"] = float(top5.mean())
    return result
