"""Certified logit pairing: IBP and a pairing of the clean logits with the worst ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from bounded_networks import CLASSES, images, network
from torch import Tensor

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import PGD
from logitpair.objectives import CertifiedLogitPairing, IntervalBoundPropagation

THREAT = lp.Linf(0.05)
PAIRING = CertifiedLogitPairing(THREAT, regularization=0.0)
ATTACK = PGD(THREAT, step_size=0.02, steps=3)


def batch(number: int = 5) -> tuple[Tensor, Tensor]:
    return images(number), torch.arange(number) % CLASSES


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("training", [False, True])
def test_without_weight_it_is_ibp(training: bool) -> None:
    settings = {"clean_weight": 0.3, "warmup": 2.0, "regularization": 0.7}
    ours, ibp = CertifiedLogitPairing(THREAT, weight=0, **settings), IntervalBoundPropagation(THREAT, **settings)
    for epoch in (0.0, 1.0, 5.0):
        found, expected = (objective.at(epoch)(network("residual").train(training), *batch()) for objective in (ours, ibp))
        torch.testing.assert_close(found.total, expected.total)
        torch.testing.assert_close(found.logits["certified"], expected.logits["certified"])
        assert found.terms.keys() == expected.terms.keys() | {"pairing"}


def test_the_pairing_is_of_the_clean_logits_and_then_the_worst() -> None:
    model, (x, y), seen = network("residual"), batch(), []

    def pairing(clean: Tensor, worst: Tensor) -> Tensor:
        seen.extend((clean, worst))
        return (worst - clean).sum(1)

    found = replace(PAIRING, weight=0.25, pairing=pairing, clean_weight=0.4)(model, x, y)
    worst = IntervalBoundPropagation(THREAT, regularization=0.0)(model, x, y).logits["certified"]
    torch.testing.assert_close(seen[0], model(x))
    torch.testing.assert_close(seen[1], worst)
    assert found.terms["pairing"] > 0
    total = 0.4 * F.cross_entropy(model(x), y) + 0.6 * F.cross_entropy(worst, y) + 0.25 * (worst - model(x)).sum(1).mean()
    torch.testing.assert_close(found.total, total)


def test_the_pairing_vanishes_with_the_ball() -> None:
    found = replace(PAIRING, threat=lp.Linf(0.0))(network("residual"), *batch())
    assert found.terms["pairing"] < 1e-20


@pytest.mark.parametrize("share", [1.0, 0.6, 0.01])
def test_adversarial_logits_are_mixed_in(share: float) -> None:
    model, (x, y) = network("residual"), batch()
    found = replace(PAIRING, attack=ATTACK, bound_share=share)(model, x, y, generator=seeded())
    adversarial = model(ATTACK.without_early_stop()(model, x, y, generator=seeded()))
    bound = PAIRING(model, x, y).logits["certified"]
    clean = model(x)
    own = adversarial + (clean - adversarial).gather(1, y[:, None])
    mixed = share * bound + (1 - share) * own
    torch.testing.assert_close(found.logits["certified"], bound, msg="what is called certified is what bounds alone allow")
    torch.testing.assert_close(found.logits["clean"], clean)
    torch.testing.assert_close(found.terms["pairing"], (clean - mixed).square().mean())
    torch.testing.assert_close(found.total, F.cross_entropy(mixed, y) + 0.5 * found.terms["pairing"])


def test_the_mixture_lies_between_the_attack_and_the_bounds() -> None:
    losses = [
        replace(PAIRING, weight=0, attack=ATTACK, bound_share=share)(network("residual"), *batch(), generator=seeded()).total.item()
        for share in (1e-9, 0.25, 0.5, 1.0)
    ]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]


def test_the_attack_does_not_move_the_statistics() -> None:
    model = network("residual").train()
    before = model.norm.num_batches_tracked.item()
    replace(PAIRING, attack=ATTACK)(model, *batch(), generator=seeded())
    assert model.norm.num_batches_tracked == before + 1


def test_the_warm_ups() -> None:
    objective = CertifiedLogitPairing(THREAT, warmup=4, weight=0.8, weight_warmup=2, attack=ATTACK, regularization=0.4)
    found = [objective.at(epoch) for epoch in (1, 2, 4, 9)]
    sizes = [0.05 / 13, 0.05 * 5 / 13, 0.05, 0.05]  # of the ball and of the attack alike
    assert [each.threat.eps for each in found] == pytest.approx(sizes)
    assert [each.attack.threat.eps for each in found] == pytest.approx(sizes)
    assert [each.weight for each in found] == pytest.approx([0.4, 0.8, 0.8, 0.8])
    assert [each.clean_weight for each in found] == pytest.approx([12 / 13, 8 / 13, 0, 0])
    assert [each.regularization for each in found] == pytest.approx([0.4 * 12 / 13, 0.4 * 8 / 13, 0, 0])
    assert CertifiedLogitPairing(THREAT, warmup=4).at(1).attack is None


@pytest.mark.parametrize(
    ("settings", "said"), [({"bound_share": 0}, "bound_share"), ({"bound_share": 1.1}, "bound_share"), ({"weight": -1}, "weight")]
)
def test_bad_settings_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        CertifiedLogitPairing(THREAT, **settings)


def test_a_pairing_that_averages_by_itself_is_refused() -> None:
    with pytest.raises(InputError, match="one number an image"):
        replace(PAIRING, pairing=lambda clean, worst: (clean - worst).abs().mean())(network("residual"), *batch())
