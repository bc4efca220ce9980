"""The audit against networks masked on purpose, whose robustness is known to be an illusion, and against honest ones."""

from __future__ import annotations

import pytest
import torch
from audited import MASKS, REFERENCE, THREAT, Masked, failed
from masks import fit, of, small
from torch import Tensor, nn

import logitpair as lp

Pair = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def images() -> Pair:
    test = lp.data.Digits().test()
    return test.images[:48].float() / 255, test.labels[:48]


def train(digits: Pair, objective: lp.objectives.Objective, steps: int) -> nn.Module:
    return fit(small, of(objective), steps=steps, seed=0, data=digits)


@pytest.fixture(scope="module")
def plain(digits: Pair) -> nn.Module:
    return train(digits, lp.objectives.StandardTraining(), 150)


@pytest.fixture(scope="module")
def robust(digits: Pair) -> nn.Module:
    return train(digits, lp.objectives.AdversarialTraining(attack=lp.attacks.PGD(THREAT, step_size=0.07, steps=5)), 300)


@pytest.fixture(scope="module")
def honest(plain: nn.Module, images: Pair) -> lp.Audit:
    return lp.audit(plain, images, threat=THREAT, reference_attack=REFERENCE, progress=False)


@pytest.mark.filterwarnings("ignore:model. returns probabilities")
@pytest.mark.parametrize("name", MASKS)
def test_every_mask_is_noticed_by_the_check_that_is_for_it(name: str, plain: nn.Module, images: Pair, honest: lp.Audit) -> None:
    mask, checks = MASKS[name]
    torch.manual_seed(0)
    audit = lp.audit(Masked(plain, mask), images, threat=THREAT, reference_attack=REFERENCE, budget=40, progress=False)
    assert checks <= failed(audit)
    if name not in ("argmax", "dead unit"):  # what leaves no gradient at all is searched blindly
        assert audit.robust_accuracy <= honest.robust_accuracy + 0.05
    assert audit.robust_accuracy < 0.6
    assert audit.verdict != "trustworthy" or audit.record.reference.top1 < 0.03


def test_an_honest_network_raises_no_alarm(honest: lp.Audit) -> None:
    assert not failed(honest) - {"eight_bit", "search_converged"}
    assert honest.verdict == "trustworthy", honest.record.reason


@pytest.mark.slow
def test_an_honest_robust_network_raises_no_alarm_and_keeps_no_more_than_under_pgd_with_many_restarts(
    robust: nn.Module, images: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logitpair.auditing.strategies.QUERIES", 100)
    strong = lp.attacks.PGD(THREAT, step_size=0.02, steps=50, restarts=4, loss=lp.losses.margin)
    audit = lp.audit(robust, images, threat=THREAT, reference_attack=strong, budget=1000, progress=False)
    assert not failed(audit) - {"eight_bit", "search_converged"}  # on so few nothing converges
    assert audit.verdict != "inconclusive", audit.record.reason  # nor is it one where the audit broke more, which is verified
    assert 0.2 < audit.robust_accuracy < 1
    pgd = lp.evaluate(robust, images, attacks={"pgd": strong}, progress=False).results["white_box"]
    assert audit.record.robust_accuracy.correct <= pgd["correct"]
    as_good = next(done for done in audit.record.rounds if done.still_correct <= pgd["correct"])
    assert as_good.gradients_per_example < pgd["top1"] * 200 / 4
    assert audit.record.rounds[0].gradients_per_example <= 12
