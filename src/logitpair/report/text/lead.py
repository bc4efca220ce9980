"""By how much one run is ahead of another."""

from __future__ import annotations

import math

from logitpair.report.records.evaluation import Accuracy


def lead(first: Accuracy, second: Accuracy) -> tuple[float, float, float]:
    """The difference of two accuracies and its 95% interval (Newcombe 1998, method 10), from those of the two.

    Runs evaluated on the same images are treated as if on different ones, which makes the interval wider rather than narrower.
    """
    difference = first.top1 - second.top1
    below = math.hypot(first.top1 - first.low, second.high - second.top1)
    above = math.hypot(first.high - first.top1, second.top1 - second.low)
    return difference, difference - below, difference + above
