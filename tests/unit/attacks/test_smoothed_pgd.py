"""PGD along smoothed gradients: where a network's own are zero, and where there is nothing to smooth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import PGD, SmoothedPGD
from logitpair.models.certifiable_convnets import SoftThreshold

BALL = lp.Linf(0.2)


def from_the_image(attack: type[PGD], threat: lp.Linf, step_size: float, steps: int = 1) -> PGD:
    return attack(threat, step_size=step_size, steps=steps, random_start=False, early_stop=False)


def test_it_moves_pixels_whose_own_gradient_a_threshold_holds_back() -> None:
    torch.manual_seed(0)
    classify = nn.Linear(64, 3)
    model = nn.Sequential(SoftThreshold(0.34), nn.Flatten(), classify)
    x = torch.where(torch.rand(5, 1, 8, 8) < 0.5, 0.3, 0.7)  # off and on by a thirtieth
    y = model(x).argmax(1)
    assert torch.equal(from_the_image(PGD, BALL, 0.4)(model, x, y), x)
    logits = (classify.weight @ x.sub(0.5).sign().flatten(1).mT.mul(0.5).add(0.5) + classify.bias[:, None]).mT
    ascent = (logits.softmax(1) - nn.functional.one_hot(y, 3)) @ classify.weight  # of the cross-entropy, in the thresholded pixels
    expected = (x + 0.2 * ascent.sign().view_as(x)).clamp(0, 1)
    torch.testing.assert_close(from_the_image(SmoothedPGD, BALL, 0.4)(model, x, y), expected)


def test_every_step_is_smoothed(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:20], digits[1][:20]
    by_hand = x
    for _ in range(3):
        by_hand = from_the_image(SmoothedPGD, BALL, 0.03)(trained, by_hand, y)
    found = from_the_image(SmoothedPGD, BALL, 0.03, steps=3)(trained, x, y)
    torch.testing.assert_close(found, by_hand)
    assert not torch.equal(found, from_the_image(PGD, BALL, 0.03, steps=3)(trained, x, y))


def test_without_a_relu_it_is_pgd(linear: nn.Module, middle: tuple[Tensor, Tensor]) -> None:
    x, y = middle
    smoothed, plain = (
        attack(BALL, step_size=0.05, steps=4, restarts=2).find(linear, x, y, generator=torch.Generator().manual_seed(1))
        for attack in (SmoothedPGD, PGD)
    )
    assert torch.equal(smoothed.x_adv, plain.x_adv)
    assert torch.equal(smoothed.gradients, plain.gradients)


@pytest.mark.parametrize("smoothing", [0.0, -1.0, float("nan")])
def test_no_smoothing_is_refused(smoothing: float) -> None:
    with pytest.raises(InputError, match="smoothing"):
        SmoothedPGD(BALL, step_size=0.1, steps=1, smoothing=smoothing)
