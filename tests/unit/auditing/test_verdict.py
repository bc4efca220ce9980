"""One word for an audit, from its numbers."""

from __future__ import annotations

import pytest

from logitpair.auditing.scheduler import Stop
from logitpair.auditing.verdict import bracket, decide
from logitpair.evaluation.confidence import wilson
from logitpair.storage.results import Accuracy, Finding


def accuracy(correct: int, total: int = 300) -> Accuracy:
    return Accuracy(top1=correct / total, correct=correct, total=total, ci95=wilson(correct, total))


def decided(reference: int, audited: int, total: int = 300, *findings: Finding, further: float = 0.0) -> tuple[str, str]:
    stop = Stop("the budget is spent", converged=not further, further_breaks=further)
    return decide(accuracy(reference, total), accuracy(audited, total), findings, stop, 1000)


def check(*, passed: bool = False, blocks: bool = False, forbids_trust: bool = False) -> Finding:
    return Finding(check="eps", passed=passed, evidence="", advice="", blocks=blocks, forbids_trust=forbids_trust)


@pytest.mark.parametrize(
    ("reference", "audited", "total", "word"),
    [
        (282, 273, 300, "overestimated"),  # three points, which floating-point numbers make a little less
        (282, 274, 300, "trustworthy"),  # less than three points
        (60, 51, 300, "overestimated"),  # of the same images: an interval for other images says nothing
        (34, 28, 60, "overestimated"),  # 10.0%, 95% interval 4.7 to 20%
        (34, 32, 60, "trustworthy"),  # 3.3%, but from 0.9%: two images
        (273, 282, 300, "inconclusive"),  # less than the audit's
        (273, 274, 300, "trustworthy"),
        (0, 0, 300, "trustworthy"),
    ],
)
def test_it_depends_on_what_was_broken_of_the_same_images(reference: int, audited: int, total: int, word: str) -> None:
    assert decided(reference, audited, total)[0] == word


def test_the_reason_says_which_number_is_above_the_other() -> None:
    assert "66.67% is 0.7 points above the audit's 66.00%: quote the audit's number of all images" in decided(200, 198)[1]
    whole = decide(accuracy(200, 300), accuracy(198, 300), [], Stop("", converged=True, further_breaks=0), 300)
    assert "66.67% is 0.7 points above the audit's 66.00%: quote the latter" in whole[1]
    assert "66.00% is 0.7 points below the audit's 66.67% and every" in decided(198, 200)[1]
    assert "both leave 66.67% and every" in decided(200, 200)[1]


def test_the_gap_has_its_own_interval() -> None:
    assert "10.0 points less (4.7 to 20.1)" in decided(34, 28, 60)[1]


def test_a_search_that_would_break_three_percent_more_leaves_the_answer_open_but_not_what_it_proved() -> None:
    assert decided(200, 198, further=29.9)[0] == "trustworthy"
    word, reason = decided(200, 198, further=30.0)
    assert word == "inconclusive"
    assert "the budget is spent" in reason
    assert decided(200, 150, further=30.0)[0] == "overestimated"


def test_what_blinds_the_search_forbids_trust_but_not_what_it_proved() -> None:
    assert decided(200, 198, 300, check())[0] == "trustworthy"
    word, reason = decided(200, 198, 300, check(forbids_trust=True))
    assert word == "inconclusive"
    assert "eps failed, so that the search may be blind too" in reason
    assert decided(200, 150, 300, check(forbids_trust=True))[0] == "overestimated"
    assert decided(200, 150, 300, check(blocks=True))[0] == "inconclusive"
    assert decided(200, 198, 300, check(passed=True, blocks=True))[0] == "trustworthy"
    untested = Finding(check="strength", passed=True, evidence="", advice="", measured={"found": None})
    word, reason = decided(200, 198, 300, untested)
    assert word == "trustworthy"
    assert reason.endswith("and every check passed; the search's strength could not be tested")
    word, reason = decided(200, 198, 300, check(), untested)
    assert word == "inconclusive"
    assert "eps failed, and the search's strength could not be tested" in reason
    assert decided(2, 0, 300, check(forbids_trust=True), further=30.0)[0] == "trustworthy"  # nothing to be too high by


def test_a_certificate_that_leaves_little_open_needs_no_search_to_be_trusted() -> None:
    stop = Stop("the budget is spent", converged=False, further_breaks=40.0)

    def word(undecided: int | None) -> str:
        return decide(accuracy(200), accuracy(198), [check(forbids_trust=True)], stop, 1000, undecided)[0]

    assert (word(None), word(30), word(29)) == ("inconclusive", "inconclusive", "trustworthy")
    assert decide(accuracy(200), accuracy(150), [], stop, 1000, 0)[0] == "overestimated"
    assert decide(accuracy(200), accuracy(200), [check(blocks=True)], stop, 1000, 0)[0] == "inconclusive"


def test_a_certificate_brackets_the_robust_accuracy() -> None:
    assert bracket(None, accuracy(270)) == ""
    said = bracket(accuracy(240), accuracy(270))
    assert said == "; robust accuracy lies between the certified 80.00% and the audited 90.00%: 10.00 points are not decided"
    assert bracket(accuracy(270), accuracy(270)).endswith("between the certified 90.00% and the audited 90.00%: every image is decided")
