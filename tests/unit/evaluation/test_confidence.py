"""Accuracies and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from logitpair.evaluation.confidence import accuracy, mean_and_range, wilson
from logitpair.storage.results import Spread


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # roots of (p - q)^2 = z^2 q (1 - q) / n, z = 1.959964
        (0, 10, 0.0, 0.277533),
        (5, 10, 0.236593, 0.763407),
        (10, 10, 0.722467, 1.0),
        (9000, 10_000, 0.893966, 0.905727),
        (1, 1, 0.206549, 1.0),
    ],
)
def test_wilson_at_known_values(correct: int, total: int, low: float, high: float) -> None:
    assert wilson(correct, total) == pytest.approx((low, high), abs=1e-6)


def test_wilson_ends_at_exactly_0_and_1() -> None:
    for total in (6, 9, 12, 50, 300, 1000):
        assert wilson(0, total)[0] == 0.0
        assert wilson(total, total)[1] == 1.0


def test_wilson_covers_95_percent_of_the_time() -> None:
    hits = np.random.default_rng(0).binomial(200, 0.9, size=5000)
    intervals = {hit: wilson(int(hit), 200) for hit in set(hits)}
    covered = np.mean([intervals[hit][0] <= 0.9 <= intervals[hit][1] for hit in hits])
    assert 0.93 < covered < 0.97


def test_accuracy_counts() -> None:
    result = accuracy(np.array([True, False, True, True]), np.array([True, True, True, True]))
    assert (result["top1"], result["correct"], result["total"], result["top5"]) == (0.75, 3, 4, 1.0)
    assert result["ci95"] == wilson(3, 4)
    assert "top5" not in accuracy(np.array([True]))


def test_a_range_is_shown_where_there_is_one() -> None:
    assert mean_and_range(Spread(mean=0.861, min=0.84, max=0.885)) == "86.1 (84.0 - 88.5)"
    assert mean_and_range(Spread(mean=0.86, min=0.86, max=0.86)) == "86.0"
    assert mean_and_range(Spread(mean=0.9998, min=0.9996, max=1.0)) == "99.9 (99.9 - 100.0)", "nothing is rounded up to all"
    assert mean_and_range(None) == "-"
