"""Accuracies with their uncertainty, as numbers and as text. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logitpair.storage.results import Spread

Z = NormalDist().inv_cdf(0.975)  # standard deviations to either side that hold 95%


def wilson(correct: float, total: int) -> tuple[float, float]:
    """The 95% confidence interval of a proportion (Wilson 1927): what the accuracy on all images could be, given ``total`` of them."""
    centre, half = correct + Z**2 / 2, Z * math.sqrt(correct * (total - correct) / total + Z**2 / 4)
    low, high = ((centre + side * half) / (total + Z**2) for side in (-1, 1))
    return low if correct else 0.0, high if correct < total else 1.0


@dataclass(frozen=True)
class Share:
    """A share of images that need be no whole number of them, as a mean over seeds is; otherwise as ``storage.results.Accuracy``."""

    top1: float
    total: int
    ci95: tuple[float, float]

    @classmethod
    def of(cls, share: float, total: int) -> Share:
        """With its interval."""
        return cls(share, total, wilson(share * total, total))


def accuracy(correct: NDArray[np.bool_], top5: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """The fields of a ``storage.results.Accuracy``: ``top5`` where given."""
    count, total = int(correct.sum()), len(correct)
    fields: dict[str, Any] = {"top1": count / total, "correct": count, "total": total, "ci95": wilson(count, total)}
    return fields if top5 is None else fields | {"top5": float(top5.mean())}


def percent(fraction: float, digits: int = 2) -> str:
    """0.9375 as ``93.75``, without rounding what is below 100 up to it."""
    value = 100 * fraction
    return f"{min(value, 100 - 10**-digits) if value < 100 else 100:.{digits}f}"


def mean_and_range(spread: Spread | None) -> str:
    """``86.1 (84.0 - 88.5)`` in percent: the mean, then lowest and highest where they differ."""
    if not spread:
        return "-"
    mean, low, high = (percent(value, 1) for value in (spread.mean, spread.min, spread.max))
    return f"{mean} ({low} - {high})" if low != high else mean
