"""One word for an audit, from its numbers."""

from __future__ import annotations

from typing import Any

import pytest

from logitpair.auditing.scheduler import Stop
from logitpair.auditing.verdict import verdict
from logitpair.evaluation.confidence import wilson


def accuracy(correct: int, total: int = 300) -> dict[str, Any]:
    return {"top1": correct / total, "correct": correct, "total": total, "ci95": wilson(correct, total)}


@pytest.mark.parametrize(
    ("protocol", "audited", "word"),
    [
        (282, 273, "overestimated"),  # three points, which floating-point numbers make a little less
        (282, 274, "trustworthy"),  # above the interval by less than three points
        (282, 276, "trustworthy"),
        (60, 51, "trustworthy"),  # three points within the interval
        (273, 282, "trustworthy"),
        (0, 0, "trustworthy"),
        (250, 282, "inconclusive"),  # less than the audit's
    ],
)
def test_it_depends_on_the_gap_and_on_the_interval(protocol: int, audited: int, word: str) -> None:
    assert verdict(accuracy(protocol), accuracy(audited), [], Stop("enough", settled=True))[0] == word
    unsettled = verdict(accuracy(protocol), accuracy(audited), [], Stop("the budget is spent", settled=False))[0]
    assert unsettled == ("overestimated" if word == "overestimated" else "inconclusive")
