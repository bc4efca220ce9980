"""One word for an audit, from its numbers."""

from __future__ import annotations

import pytest

from logitpair.auditing.scheduler import Stop
from logitpair.auditing.verdict import decide
from logitpair.evaluation.confidence import wilson
from logitpair.storage.results import Accuracy


def accuracy(correct: int, total: int = 300) -> Accuracy:
    return Accuracy(top1=correct / total, correct=correct, total=total, ci95=wilson(correct, total))


@pytest.mark.parametrize(
    ("reference", "audited", "word"),
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
def test_it_depends_on_the_gap_and_on_the_interval(reference: int, audited: int, word: str) -> None:
    assert decide(accuracy(reference), accuracy(audited), [], Stop("enough", converged=True))[0] == word
    not_converged = decide(accuracy(reference), accuracy(audited), [], Stop("the budget is spent", converged=False))[0]
    assert not_converged == ("overestimated" if word == "overestimated" else "inconclusive")
