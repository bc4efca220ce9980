"""N-FGSM: how far its noise and its step reach."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError


def test_the_step_begins_at_noise_of_two_radii_and_adds_one_unclipped(linear: nn.Module, middle: tuple[Tensor, Tensor]) -> None:
    x, y = middle
    radius = 0.02
    gradient = torch.autograd.grad(lp.losses.cross_entropy(linear(moved := x.clone().requires_grad_()), y).sum(), moved)[0]
    shift = lp.attacks.NFGSM(lp.Linf(3 * radius))(linear, x, y, generator=torch.Generator().manual_seed(0)) - x
    noise = shift - radius * gradient.sign()  # a linear model's gradient has nearly the same signs all over so small a ball
    inside = (noise.abs() <= 2 * radius + 1e-9).double().mean()
    assert inside > 0.9
    assert noise.abs().max() > 1.8 * radius
    assert abs(noise.mean()) < 0.1 * radius
    assert shift.abs().max() > 2.8 * radius, "which is not clipped to the ball that is trained for"


def test_without_noise_it_is_the_fast_gradient_sign_method(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:20], digits[1][:20]
    threat = lp.Linf(0.1)
    assert torch.equal(lp.attacks.NFGSM(threat, noise=0.0)(trained, x, y), lp.attacks.fgsm(threat).without_early_stop()(trained, x, y))


def test_it_costs_one_gradient_an_image(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    found = lp.attacks.NFGSM(lp.Linf(0.1)).find(trained, digits[0][:4], digits[1][:4])
    assert found.gradients.tolist() == [1] * 4
    assert found.forwards.tolist() == [0] * 4


@pytest.mark.parametrize("noise", [-0.1, 1.0, 2.0])
def test_noise_that_leaves_no_step_is_refused(noise: float) -> None:
    with pytest.raises(InputError, match="noise"):
        lp.attacks.NFGSM(lp.Linf(0.1), noise=noise)
