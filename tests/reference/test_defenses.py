"""Label smoothing, VAT, TRADES and MART: values by hand, restated in a straight line, gradients by finite differences."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError, losses
from logitpair.objectives import MART, TRADES, Mixup, Objective, StandardTraining, VirtualAdversarialTraining
from logitpair.objectives.virtual_adversarial_training import l2_ascent, linf_ascent
from logitpair.rng import ExampleStreams

CLEAN = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
MOVED = torch.tensor([[0.0, 1.0, 3.0], [0.5, 0.0, 1.0]], dtype=torch.float64)
Y = torch.tensor([0, 2])
ATTACK = lp.attacks.PGD(lp.Linf(0.2), step_size=0.05, steps=6)


def softmax(*logits: float) -> list[float]:
    return [math.exp(logit) / sum(map(math.exp, logits)) for logit in logits]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


P = [softmax(2, 0, 1), softmax(0, 1, -1)]
Q = [softmax(0, 1, 3), softmax(0.5, 0, 1)]
CLEAN_LOSS = -(math.log(P[0][0]) + math.log(P[1][2])) / 2
KL = [kl(p, q) for p, q in zip(P, Q, strict=True)]
KL_BACK = [kl(q, p) for p, q in zip(P, Q, strict=True)]
BOOSTED = [-math.log(Q[0][0]) - math.log(1 - Q[0][2]), -math.log(Q[1][2]) - math.log(1 - Q[1][0])]


@dataclass(frozen=True)
class Marked(lp.attacks.Attack):
    """Adds 1/8 to the image and never runs the model."""

    threat: lp.Linf = lp.Linf(0.125)

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> Tensor:
        return x + 0.125

    def scaled(self, factor: float) -> Self:
        return self


class Table(nn.Module):
    """CLEAN for the two images, CLEAN and MOVED for them and their perturbed copies."""

    def forward(self, x: Tensor) -> Tensor:
        return {2: CLEAN, 4: torch.cat([CLEAN, MOVED])}[len(x)] + 0 * x.flatten(1).sum(1, keepdim=True)


class Net(nn.Module):
    """A smooth network of 1x2x2 images into 3 classes, its weights given as tensors."""

    def __init__(self, hidden: Tensor, out: Tensor) -> None:
        super().__init__()
        self.hidden, self.out = hidden, out

    def forward(self, x: Tensor) -> Tensor:
        return (4 * (x.flatten(1) - 0.5) @ self.hidden).tanh() @ self.out


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of a Net, and a batch."""
    source = seeded(4)
    hidden, out = (torch.randn(shape, generator=source, dtype=torch.float64) for shape in ((4, 5), (5, 3)))
    return hidden, out, 0.1 + 0.8 * torch.rand(6, 1, 2, 2, generator=source, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (losses.kl_from_clean(CLEAN, MOVED), KL),
        (losses.kl_to_clean(CLEAN, MOVED), KL_BACK),
        (losses.kl_from_clean(CLEAN, CLEAN), [0, 0]),
        (losses.boosted_cross_entropy(MOVED, Y), BOOSTED),
    ],
)
def test_losses_by_hand(found: Tensor, expected: list[float]) -> None:
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_boosted_cross_entropy_and_its_gradient_are_finite_where_probabilities_round_to_0_and_1() -> None:
    logits = torch.tensor([[0.0, 1000.0, 0.0], [1000.0, 0.0, 0.0]], requires_grad=True)
    loss = losses.boosted_cross_entropy(logits, torch.tensor([0, 0]))
    assert loss.tolist() == pytest.approx([2000 - math.log(2), 0])
    loss.sum().backward()
    assert logits.grad[0].tolist() == pytest.approx([-1.5, 2, -0.5])


@pytest.mark.parametrize("loss", [losses.kl_from_clean, losses.kl_to_clean])
def test_gradients_of_divergences_by_finite_differences(loss: losses.Loss) -> None:
    assert torch.autograd.gradcheck(loss, (CLEAN.clone().requires_grad_(), MOVED.clone().requires_grad_()))
    assert torch.autograd.gradcheck(lambda logits: losses.boosted_cross_entropy(logits, Y), MOVED.clone().requires_grad_())


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (StandardTraining(label_smoothing=0.3), 0.7 * CLEAN_LOSS - 0.3 * sum(math.log(p) for row in P for p in row) / 6),
        (VirtualAdversarialTraining(eps=0.1, weight=2), CLEAN_LOSS + 2 * sum(KL) / 2),
        (VirtualAdversarialTraining(eps=0.1, divergence=losses.kl_to_clean), CLEAN_LOSS + sum(KL_BACK) / 2),
        (TRADES(ATTACK), CLEAN_LOSS + 6 * sum(KL) / 2),
        (MART(Marked()), sum(BOOSTED) / 2 + 5 * (KL[0] * (1 - P[0][0]) + KL[1] * (1 - P[1][2])) / 2),
    ],
)
def test_total_by_hand(objective: Objective, expected: float) -> None:
    x = torch.tensor([0.25, 0.75], dtype=torch.float64).view(2, 1, 1, 1)
    assert objective(Table(), x, Y).total.item() == pytest.approx(expected, rel=1e-12)


def test_label_smoothing_is_cross_entropy_with_soft_labels(linear: nn.Module, middle: tuple[Tensor, Tensor]) -> None:
    x, y = middle
    soft = 0.75 * F.one_hot(y, 3) + 0.25 / 3
    torch.testing.assert_close(StandardTraining(label_smoothing=0.25)(linear, x, y).total, F.cross_entropy(linear(x), soft))


@pytest.mark.parametrize(
    "objective", [StandardTraining(label_smoothing=0.2), Mixup(), TRADES(ATTACK), MART(Marked()), MART(ATTACK, weight=2)]
)
def test_gradient_with_respect_to_the_weights_by_finite_differences(objective: Objective) -> None:
    """Signs do not move with a weight, so that the images found do not change under the small differences."""
    hidden, out, x, y = tiny()

    def total(hidden: Tensor, out: Tensor) -> Tensor:
        return objective(Net(hidden, out), x, y, generator=seeded()).total

    assert torch.autograd.gradcheck(total, (hidden.requires_grad_(), out.requires_grad_()))


@pytest.mark.parametrize("divergence", [losses.kl_from_clean, losses.kl_to_clean])
@pytest.mark.parametrize("ascent", [l2_ascent, linf_ascent])
def test_no_gradient_flows_through_vats_search_or_its_clean_prediction(divergence: losses.Loss, ascent: Callable) -> None:
    hidden, out, x, y = tiny()
    objective = VirtualAdversarialTraining(eps=0.3, ascent=ascent, divergence=divergence, weight=3)
    moved, clean = objective.search(Net(hidden, out), x, seeded()), Net(hidden, out)(x)  # fixed from here on

    def restated(hidden: Tensor, out: Tensor, clean: Tensor | None = clean) -> Tensor:
        net = Net(hidden, out)
        compared = net(x) if clean is None else clean
        return F.cross_entropy(net(x), y) + 3 * divergence(compared, net(moved)).mean()

    weights = hidden.requires_grad_(), out.requires_grad_()
    assert torch.autograd.gradcheck(restated, weights)
    expected = torch.autograd.grad(restated(*weights), weights)
    found = torch.autograd.grad(objective(Net(*weights), x, y, generator=seeded()).total, weights)
    torch.testing.assert_close(found, expected)
    through_both = torch.autograd.grad(restated(*weights, None), weights)
    assert (found[0] - through_both[0]).abs().max() > 1e-3, "the test cannot tell the two apart"


def curvature(linear: nn.Module, x: Tensor) -> Tensor:
    """Second derivatives of the divergence at each image: W' (diag p - p p') W, whichever its direction."""
    p = linear(x).softmax(1)
    fisher = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return linear.weight.T @ fisher @ linear.weight


@pytest.mark.parametrize("divergence", [losses.kl_from_clean, losses.kl_to_clean])
def test_vats_direction_on_a_linear_model_is_known(divergence: losses.Loss, linear: nn.Module, middle: tuple[Tensor, Tensor]) -> None:
    x, _ = middle
    start = torch.randn(x.shape, generator=seeded(), dtype=x.dtype).flatten(1)
    once = (curvature(linear, x) @ start[:, :, None]).squeeze(2)
    top = torch.linalg.eigh(curvature(linear, x)).eigenvectors[:, :, -1]

    def found(iterations: int, ascent: Callable = l2_ascent) -> Tensor:
        settings = VirtualAdversarialTraining(eps=0.1, xi=1e-5, power_iterations=iterations, ascent=ascent, divergence=divergence)
        return (settings.search(linear, x, seeded()) - x).flatten(1) / 0.1

    torch.testing.assert_close(found(1), F.normalize(once), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found(1, linf_ascent), once.sign())
    along_top = (found(200) * top).sum(1).abs()
    torch.testing.assert_close(along_top, torch.ones_like(along_top), rtol=1e-3, atol=0)
    assert ((found(1) * top).sum(1).abs() < 0.999).any(), "one iteration already finds the top: the test shows nothing"


@pytest.mark.parametrize(("ascent", "eps"), [(l2_ascent, 1.0), (linf_ascent, 0.1)])
def test_vats_direction_moves_the_prediction_much_more_than_a_random_one(
    ascent: Callable, eps: float, trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    x = digits[0][:200]
    x_adv = VirtualAdversarialTraining(eps=eps, ascent=ascent).search(trained, x, seeded())
    random = (x + eps * ascent(torch.randn(x.shape, generator=seeded(1)))).clamp(0, 1)
    drift, by_chance = (losses.kl_from_clean(trained(x), trained(moved)).mean() for moved in (x_adv, random))
    assert drift > 5 * by_chance
    assert (x_adv.min(), x_adv.max()) == (0, 1)


def test_l2_ascent_has_length_1_whatever_the_gradients_size_and_points_nowhere_without_one() -> None:
    gradient = torch.randn(4, 1, 3, 3, generator=seeded()) * torch.tensor([1, 1e-30, 1e30, 0])[:, None, None, None]
    assert l2_ascent(gradient).flatten(1).norm(dim=1).tolist() == pytest.approx([1, 1, 1, 0])


def test_the_searches_see_what_bfloat16_cannot(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:200], digits[1][:200]
    vat, trades = VirtualAdversarialTraining(eps=1.0, xi=0.01), TRADES(lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1))
    exactly = vat.search(trained, x, seeded()), trades.search(trained, x, y, seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(vat.search(trained, x, seeded()), exactly[0])
        assert torch.equal(trades.search(trained, x, y, seeded()), exactly[1])


def test_trades_restated(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    model, x, y = copy.deepcopy(trained).double(), digits[0][:40].double(), digits[1][:40]
    p = model(x).softmax(1).detach()
    x_adv = x + 0.001 * torch.randn(x.shape, generator=seeded(), dtype=x.dtype)
    for _ in range(6):
        x_adv = x_adv.clamp(0, 1).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.kl_div(model(x_adv).log_softmax(1), p, reduction="sum"), x_adv)
        x_adv = torch.min(torch.max(x_adv + 0.05 * gradient.sign(), x - 0.2), x + 0.2).clamp(0, 1)
    expected = F.cross_entropy(model(x), y) + 4 * F.kl_div(model(x_adv).log_softmax(1), model(x).softmax(1), reduction="batchmean")
    result = TRADES(ATTACK, weight=4)(model, x, y, generator=seeded())
    torch.testing.assert_close(result.total, expected)
    torch.testing.assert_close(result.logits["adversarial"], model(x_adv))


def test_trades_search_moves_the_prediction_and_stays_in_the_ball(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:200], digits[1][:200]
    x_adv = TRADES(ATTACK).search(trained, x, y, seeded())
    random = ATTACK.threat.project(x + 0.2 * torch.randn(x.shape, generator=seeded(1)).sign(), x)
    drift, by_chance = (losses.kl_from_clean(trained(x), trained(moved)).mean() for moved in (x_adv, random))
    assert drift > 5 * by_chance
    assert ATTACK.threat.contains(x_adv, x).all()


def test_mart_restated(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    model, x, y = copy.deepcopy(trained).double(), digits[0][:40].double(), digits[1][:40]
    p, q = model(x).softmax(1), model(ATTACK.without_early_stop()(model, x, y, generator=seeded())).softmax(1)
    total = torch.zeros(())
    for i, label in enumerate(y.tolist()):
        others = [k for k in range(10) if k != label]
        total = total - q[i, label].log() - (1 - q[i, others].max()).log()
        total = total + 3 * (p[i] * (p[i] / q[i]).log()).sum() * (1 - p[i, label])
    result = MART(ATTACK, weight=3)(model, x, y, generator=seeded())
    torch.testing.assert_close(result.total, total / len(y))


@pytest.mark.parametrize("generator", [None, ExampleStreams(0, torch.arange(6))], ids=["global", "streams"])
@pytest.mark.parametrize("objective", [Mixup(), VirtualAdversarialTraining(eps=0.5), TRADES(ATTACK)])
def test_every_kind_of_generator_works(objective: Objective, generator: ExampleStreams | None) -> None:
    hidden, out, x, y = tiny()
    assert objective(Net(hidden, out), x, y, generator=generator).total.isfinite()


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: Mixup(alpha=0), "alpha"),
        (lambda: VirtualAdversarialTraining(eps=-1), "eps"),
        (lambda: VirtualAdversarialTraining(eps=1, weight=-1), "weight"),
        (lambda: VirtualAdversarialTraining(eps=1, xi=0), "xi"),
        (lambda: VirtualAdversarialTraining(eps=1, power_iterations=0), "power_iterations"),
        (lambda: TRADES(ATTACK, weight=float("nan")), "weight"),
        (lambda: TRADES(ATTACK, warmup=-1), "warmup"),
        (lambda: TRADES(lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1, restarts=2)), "attack"),
        (lambda: TRADES(lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1, target=lp.attacks.LeastLikely())), "attack"),
        (lambda: MART(ATTACK, weight=-1), "weight"),
        (lambda: MART(ATTACK, warmup=-1), "warmup"),
    ],
)
def test_bad_settings_are_refused(build: Callable[[], Objective], named: str) -> None:
    with pytest.raises(InputError, match=named):
        build()
