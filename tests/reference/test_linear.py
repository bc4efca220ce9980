"""Linear models, whose worst case in the ball is known exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.losses import misclassification_margin as margin

EPS = 0.05
BALL = lp.Linf(EPS)  # around images in [0.3, 0.7] the box is never reached


def worst_margin(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Of every other class k: (w_k - w_y) x + b_k - b_y + eps |w_k - w_y|_1; the largest."""
    w, b = model.weight.detach(), model.bias.detach()
    gap = w[None] - w[y][:, None]  # [batch, classes, pixels]
    value = (gap * x.flatten(1)[:, None]).sum(2) + b[None] - b[y][:, None] + EPS * gap.abs().sum(2)
    return value.scatter(1, y[:, None], -torch.inf).amax(1)


@pytest.fixture
def binary() -> nn.Module:
    seeded = torch.Generator().manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(2, 16, generator=seeded, dtype=torch.float64))
    model.weight, model.bias = model[1].weight, model[1].bias
    return model


@pytest.mark.parametrize("loss", [lp.losses.misclassification_margin, lp.losses.cross_entropy])
@pytest.mark.parametrize("random_start", [True, False])
def test_pgd_reaches_the_worst_case_of_two_classes(binary: nn.Module, middle: tuple, loss: lp.losses.Loss, random_start: bool) -> None:
    x, y = middle[0], middle[1] % 2
    attack = lp.attacks.PGD(BALL, step_size=EPS / 4, steps=10, random_start=random_start, loss=loss).without_early_stop()
    x_adv = attack(binary, x, y, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(margin(binary(x_adv), y).detach(), worst_margin(binary, x, y), rtol=0, atol=1e-12)


def test_one_step_of_size_eps_is_optimal_for_two_classes(binary: nn.Module, middle: tuple) -> None:
    x, y = middle[0], middle[1] % 2
    x_adv = lp.attacks.PGD(BALL, step_size=EPS, steps=1, random_start=False).without_early_stop()(binary, x, y)
    torch.testing.assert_close(margin(binary(x_adv), y).detach(), worst_margin(binary, x, y), rtol=0, atol=1e-12)


def test_pgd_on_the_margin_reaches_the_worst_case_of_three_classes_and_no_more(linear: nn.Module, middle: tuple) -> None:
    x, y = middle
    attack = lp.attacks.PGD(BALL, step_size=EPS / 4, steps=20, restarts=10, loss=lp.losses.misclassification_margin).without_early_stop()
    found = margin(linear(attack(linear, x, y, generator=torch.Generator().manual_seed(0))), y).detach()
    best = worst_margin(linear, x, y)
    assert (found <= best + 1e-12).all()
    torch.testing.assert_close(found, best, rtol=0, atol=1e-12)


@pytest.mark.parametrize("early_stop", [True, False])
def test_pgd_breaks_exactly_the_examples_that_can_be_broken(linear: nn.Module, middle: tuple, early_stop: bool) -> None:
    x, y = middle
    attack = lp.attacks.PGD(BALL, step_size=EPS / 4, steps=20, restarts=10, loss=lp.losses.misclassification_margin, early_stop=early_stop)
    x_adv = attack(linear, x, y, generator=torch.Generator().manual_seed(0))
    breakable = worst_margin(linear, x, y) > 0
    assert 0 < breakable.sum() < len(x), "the test needs both kinds"
    assert torch.equal(linear(x_adv).argmax(1) != y, breakable)


def test_the_step_is_the_sign_of_the_gradient_times_the_step_size(linear: nn.Module, middle: tuple) -> None:
    x, y = middle
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(linear(leaf), y), leaf)
    x_adv = lp.attacks.PGD(BALL, step_size=0.01, steps=1, random_start=False).without_early_stop()(linear, x, y)
    torch.testing.assert_close(x_adv, x + 0.01 * gradient.sign(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("target", [lp.attacks.LeastLikely(), lp.attacks.RandomTarget()])
def test_targeted_attack_descends_the_loss_of_its_target_to_the_optimum(
    binary: nn.Module, middle: tuple, target: lp.attacks.Target
) -> None:
    x, y = middle[0], middle[1] % 2
    aim = 1 - y  # all that is left of two classes
    attack = lp.attacks.PGD(BALL, step_size=EPS / 4, steps=10, target=target).without_early_stop()
    x_adv = attack(binary, x, y, generator=torch.Generator().manual_seed(0))
    before, after = (nn.functional.cross_entropy(binary(images), aim, reduction="none") for images in (x, x_adv))
    assert (after < before).all()
    torch.testing.assert_close(margin(binary(x_adv), y).detach(), worst_margin(binary, x, y), rtol=0, atol=1e-12)


def test_least_likely_attack_raises_the_probability_of_the_least_likely_class(linear: nn.Module, middle: tuple) -> None:
    x, y = middle
    aim = linear(x).scatter(1, y[:, None], torch.inf).argmin(1)
    x_adv = lp.attacks.PGD(BALL, step_size=EPS / 4, steps=10, random_start=False, target=lp.attacks.LeastLikely()).without_early_stop()(
        linear, x, y
    )
    before, after = (linear(images).softmax(1).gather(1, aim[:, None]) for images in (x, x_adv))
    assert (after > before).all()


def test_the_box_limits_the_attack(linear: nn.Module) -> None:
    x, y = torch.ones(4, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    x_adv = lp.attacks.PGD(lp.Linf(0.2), step_size=0.2, steps=3).without_early_stop()(
        linear, x, y, generator=torch.Generator().manual_seed(0)
    )
    assert x_adv.max() == 1
    assert x_adv.min() == pytest.approx(0.8)


def worst_in_l2(gap: Tensor, x: Tensor, eps: float) -> Tensor:
    """The largest ``gap (z - x)`` of all ``z`` in the L2 ball and the box, by bisection.

    It is at ``z - x = clip(t gap, -x, 1 - x)``, the gradient's direction cut off at the walls, of length eps if the walls leave so much.
    """
    low, high = torch.zeros(len(x), 1, dtype=x.dtype), torch.full((len(x), 1), 1e6, dtype=x.dtype)
    for _ in range(200):
        t = (low + high) / 2
        short = torch.clamp(t * gap, -x, 1 - x).norm(dim=1, keepdim=True) <= eps
        low, high = torch.where(short, t, low), torch.where(short, high, t)
    return (gap * torch.clamp(low * gap, -x, 1 - x)).sum(1)


L2_EPS = 0.6  # where images near the walls meet several of them
L2_ATTACKS = {
    "pgd": lp.attacks.PGD(lp.L2(L2_EPS), step_size=L2_EPS / 2, steps=60),
    "bim": lp.attacks.bim(lp.L2(L2_EPS), step_size=L2_EPS / 2, steps=60),
    "apgd": lp.attacks.APGD(lp.L2(L2_EPS), steps=60),
    "apgd_ce": lp.attacks.APGD(lp.L2(L2_EPS), steps=60, loss=lp.losses.cross_entropy),
    "diversified": lp.attacks.DiversifiedPGD(lp.L2(L2_EPS), steps=60),
    "local_search": lp.attacks.IteratedLocalSearch(lp.L2(L2_EPS), chains=2, kicks=3, steps=20, first_steps=60),
}


@pytest.mark.parametrize("name", L2_ATTACKS)
def test_the_worst_case_of_the_l2_ball_in_the_box_is_reached(name: str, binary: nn.Module) -> None:
    seeded = torch.Generator().manual_seed(5)
    x = (1.4 * torch.rand(40, 1, 4, 4, generator=seeded, dtype=torch.float64) - 0.2).clamp(0, 1)
    y = torch.randint(2, (40,), generator=seeded)
    gap = (binary.weight[1 - y] - binary.weight[y]).detach()
    best = margin(binary(x), y).detach() + worst_in_l2(gap, x.flatten(1), L2_EPS)
    x_adv = L2_ATTACKS[name].without_early_stop()(binary, x, y, generator=seeded)
    assert ((x_adv == 0) | (x_adv == 1)).flatten(1).sum(1).float().mean() > 2, "the test needs walls that are met"
    assert lp.L2(L2_EPS).distance(x_adv, x).sub(L2_EPS).abs().max() < 1e-12
    found = margin(binary(x_adv), y).detach()
    assert (found <= best + 1e-12).all()
    torch.testing.assert_close(found, best, rtol=0, atol=1e-5)


def test_away_from_the_walls_one_step_is_optimal_in_l2_and_the_support_is_the_gain(binary: nn.Module, middle: tuple) -> None:
    x, y = middle[0], middle[1] % 2
    ball = lp.L2(0.2)
    x_adv = lp.attacks.fgsm(ball).without_early_stop()(binary, x, y)
    gap = (binary.weight[1 - y] - binary.weight[y]).detach()
    torch.testing.assert_close(margin(binary(x_adv), y) - margin(binary(x), y), ball.support(gap), rtol=0, atol=1e-12)
    torch.testing.assert_close(worst_in_l2(gap, x.flatten(1), 0.2), ball.support(gap), rtol=0, atol=1e-12)
