"""By how much one run is ahead of another."""

from __future__ import annotations

import math

from logitpair.storage.results import Accuracy


def lead(first: Accuracy, second: Accuracy) -> tuple[float, float, float]:
    """The difference of two accuracies and its 95% interval (Newcombe 1998, method 10), from those of the two.

    Runs evaluated on the same images are treated as if on different ones, which makes the interval wider rather than narrower.
    """
    difference, (low, high), (other_low, other_high) = first.top1 - second.top1, first.ci95, second.ci95
    below = math.hypot(first.top1 - low, other_high - second.top1)
    above = math.hypot(high - first.top1, second.top1 - other_low)
    return difference, difference - below, difference + above
