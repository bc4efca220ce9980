"""Auto-PGD: its algorithm written out, known optima, another library, and models that give it little to work with."""

from __future__ import annotations

import copy
from dataclasses import replace
from math import ceil

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError, losses
from logitpair.attacks import APGD, PGD
from logitpair.attacks.apgd import checkpoints
from logitpair.attacks.base import nth_other_class
from logitpair.rng import ExampleStreams

EPS = 0.05
Pair = tuple[Tensor, Tensor]


class First(nn.Module):
    """The first two classes of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[:, :2]


@pytest.fixture
def sample(digits: Pair) -> Pair:
    return digits[0][:100], digits[1][:100]


def streams(x: Tensor) -> ExampleStreams:
    return ExampleStreams(0, torch.arange(len(x)))


def written_out(model: nn.Module, x: Tensor, y: Tensor, start: Tensor, ball: lp.Threat, steps: int, loss: losses.Loss) -> Tensor:
    """Algorithm 1 for one image, in its own letters; of all x(k) the one of highest margin."""
    eps = ball.eps

    def project(z: Tensor) -> Tensor:
        if isinstance(ball, lp.L2):
            return ball.project(z, x)  # which tests of its own compare with a quadratic programme
        return torch.clamp(torch.min(torch.max(z, x - eps), x + eps), 0, 1)

    def steepest(gradient: Tensor) -> Tensor:
        return gradient / gradient.norm() if isinstance(ball, lp.L2) else gradient.sign()

    def f(z: Tensor) -> tuple[float, Tensor]:
        leaf = z.clone().requires_grad_()
        value = loss(model(leaf), y)
        value.sum().backward()
        seen.append((losses.misclassification_margin(model(z), y).item(), z))
        return value.item(), leaf.grad

    p = [0.0, 0.22]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    w = [ceil(round(100 * share) * steps / 100) for share in p]
    seen: list[tuple[float, Tensor]] = []
    eta, eta_then, alpha = 2 * eps, 2 * eps, 0.75
    before = now = x_max = start
    value, gradient = f(now)
    f_max = f_max_then = value
    gradient_max, values, j = gradient, [value], 1
    for k in range(steps):
        while w[j] < k:  # few steps: several checkpoints fall on the same one
            j += 1
        if k == w[j] and k > w[j - 1]:
            rises = sum(values[i + 1] > values[i] for i in range(len(values) - 1))
            halve = rises < 0.75 * (w[j] - w[j - 1]) or (eta == eta_then and f_max == f_max_then)
            eta_then, f_max_then = eta, f_max
            if halve:
                eta, now, gradient, value = eta / 2, x_max, gradient_max, f_max
            values = [value]
        z = project(now + eta * steepest(gradient))
        after = z if k == 0 else project(now + alpha * (z - now) + (1 - alpha) * (now - before))
        before, now = now, after
        value, gradient = f(now)
        values.append(value)
        if value > f_max:
            x_max, f_max, gradient_max = now, value, gradient
    return max(seen, key=lambda pair: pair[0])[1]


@pytest.mark.parametrize("steps", [1, 5, 30, 100])
@pytest.mark.parametrize("loss", [losses.misclassification_margin, losses.cross_entropy, losses.dlr])
@pytest.mark.parametrize("ball", [lp.Linf(0.1), lp.L2(0.7)], ids=["linf", "l2"])
def test_agrees_with_the_algorithm_written_out(steps: int, loss: losses.Loss, ball: lp.Threat, trained: nn.Module, sample: Pair) -> None:
    number = 2 if isinstance(ball, lp.L2) and steps == 100 else 5  # where the projection takes long
    model, (x, y) = copy.deepcopy(trained).double(), (sample[0][:number].double(), sample[1][:number])
    found = APGD(ball, steps=steps, loss=loss).without_early_stop()(model, x, y, generator=streams(x))
    starts = ball.random_start(x, streams(x))
    expected = [written_out(model, x[i : i + 1], y[i : i + 1], starts[i : i + 1], ball, steps, loss) for i in range(len(x))]
    if isinstance(ball, lp.Linf) or steps <= 5:
        torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-12)
        return
    # on a round ball the loss rises ever less, in the end by rounding alone, which ours does not take for progress
    ours, theirs = (losses.misclassification_margin(model(images), y).detach() for images in (found, torch.cat(expected)))
    flat = losses.dlr(model(torch.cat(expected)), y) > 1 - 1e-9  # where its gradient is rounding, and leads anywhere
    assert flat.sum() <= 1
    torch.testing.assert_close(ours[~flat], theirs[~flat], rtol=0, atol=1e-4)


def test_checkpoints_by_hand() -> None:
    assert checkpoints(100) == {0, 22, 41, 57, 70, 80, 87, 93, 99}
    assert checkpoints(10) == {0, 3, 5, 6, 7, 8, 9, 10}
    assert checkpoints(1) == {0, 1}


def worst_margin(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Of every other class k: (w_k - w_y) x + b_k - b_y + eps |w_k - w_y|_1; the largest."""
    gap = (model.weight[None] - model.weight[y][:, None]).detach()
    value = (gap * x.flatten(1)[:, None]).sum(2) + (model.bias[None] - model.bias[y][:, None]).detach() + EPS * gap.abs().sum(2)
    return value.scatter(1, y[:, None], -torch.inf).amax(1)


def test_reaches_the_worst_case_of_a_linear_model(linear: nn.Module, middle: Pair) -> None:
    x, y = middle
    found = APGD(lp.Linf(EPS), steps=30, restarts=10).without_early_stop()(linear, x, y, generator=streams(x))
    torch.testing.assert_close(losses.misclassification_margin(linear(found), y).detach(), worst_margin(linear, x, y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", [losses.misclassification_margin, losses.cross_entropy])
def test_reaches_the_worst_case_of_two_classes_with_any_loss_in_one_restart(loss: losses.Loss, linear: nn.Module, middle: Pair) -> None:
    x, y = middle[0], middle[1] % 2
    model = First(linear)
    gap = (linear.weight[1 - y] - linear.weight[y]).detach()
    worst = losses.misclassification_margin(model(x), y).detach() + EPS * gap.abs().sum(1)
    found = APGD(lp.Linf(EPS), steps=20, loss=loss).without_early_stop()(model, x, y, generator=streams(x))
    torch.testing.assert_close(losses.misclassification_margin(model(found), y).detach(), worst, rtol=0, atol=1e-12)


@pytest.mark.parametrize("early_stop", [True, False])
def test_breaks_exactly_the_examples_that_can_be_broken(early_stop: bool, linear: nn.Module, middle: Pair) -> None:
    x, y = middle
    attack = APGD(lp.Linf(EPS), steps=20, restarts=10, early_stop=early_stop)
    breakable = worst_margin(linear, x, y) > 0
    assert 0 < breakable.sum() < len(x), "the test needs both kinds"
    assert torch.equal(linear(attack(linear, x, y, generator=streams(x))).argmax(1) != y, breakable)


def test_the_targets_together_break_exactly_the_examples_that_can_be_broken(linear: nn.Module, middle: Pair) -> None:
    x, y = middle
    broken = torch.zeros(len(x), dtype=torch.bool)
    for rank in (1, 2):
        attack = APGD(lp.Linf(EPS), steps=20, loss=losses.targeted_margin, target_rank=rank)
        broken |= linear(attack(linear, x, y, generator=streams(x))).argmax(1) != y
    assert torch.equal(broken, worst_margin(linear, x, y) > 0)


@pytest.mark.parametrize(("name", "loss"), [("ce", losses.cross_entropy), ("dlr", losses.dlr)])
@pytest.mark.parametrize("eps", [0.1, 0.15])
def test_agrees_with_torchattacks(name: str, loss: losses.Loss, eps: float, trained: nn.Module, sample: Pair) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    with torch.random.fork_rng():  # it sets the global seed
        theirs = torchattacks.APGD(trained, eps=eps, steps=20, loss=name)(x, y)
    ours = APGD(lp.Linf(eps), steps=20, loss=loss)(trained, x, y, generator=streams(x))
    correct = [(trained(images).argmax(1) == y).sum().item() for images in (ours, theirs)]
    assert abs(correct[0] - correct[1]) <= 4
    assert 0 < correct[0] < 70, "the attack must break some and not all, or agreement says little"


@pytest.mark.parametrize("attack", [APGD(lp.Linf(0.1), steps=12), APGD(lp.Linf(0.1), steps=5, restarts=3, loss=losses.dlr)])
def test_what_is_counted_is_what_went_through_the_model(attack: APGD, trained: nn.Module, sample: Pair) -> None:
    x, y = sample
    with_gradient: list[int] = []
    without: list[int] = []
    handle = trained.register_forward_pre_hook(
        lambda _, given: (with_gradient if given[0].requires_grad else without).append(len(given[0]))
    )
    found = attack.find(trained, x, y, generator=streams(x))
    handle.remove()
    assert found.gradients.sum() == sum(with_gradient)
    assert found.forwards.sum() == sum(without)
    broken = trained(found.x_adv).argmax(1) != y
    assert (found.gradients[~broken] == attack.steps * attack.restarts).all()
    assert (found.forwards[~broken] == attack.restarts).all()
    gone = broken & (found.forwards == found.restart)  # at a step that was not the last
    assert gone.any()
    assert torch.equal(found.gradients[gone], found.restart[gone] * attack.steps + found.step[gone] + 1)
    assert with_gradient == sorted(with_gradient, reverse=True) or attack.restarts > 1, "who is broken goes through the model no more"


def test_what_an_example_meets_does_not_depend_on_the_batch_size(trained: nn.Module, sample: Pair) -> None:
    model, x, y = copy.deepcopy(trained).double(), sample[0].double(), sample[1]
    for attack in (APGD(lp.Linf(0.1), steps=40, restarts=2), APGD(lp.Linf(0.1), steps=25, loss=losses.targeted_dlr, target_rank=3)):
        together = attack.find(model, x, y, generator=streams(x))
        for start in range(0, 100, 30):
            part = torch.arange(start, min(start + 7, 100))
            alone = attack.find(model, x[part], y[part], generator=ExampleStreams(0, part))
            torch.testing.assert_close(alone.x_adv, together.x_adv[part], rtol=0, atol=1e-12)
            assert torch.equal(alone.step, together.step[part])
            assert torch.equal(alone.gradients, together.gradients[part])


class Detached(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(self.model(x).argmax(1), 10).float()


@pytest.mark.parametrize("early_stop", [True, False])
def test_a_model_without_gradients_is_searched_at_its_starts_alone(early_stop: bool, trained: nn.Module, sample: Pair) -> None:
    x, y = sample
    attack = APGD(lp.Linf(0.1), steps=5, restarts=2, early_stop=early_stop)
    found = attack.find(Detached(trained), x, y, generator=streams(x))
    draws = streams(x)
    starts = [attack.threat.random_start(x, draws) for _ in range(2)]
    for i, restart in enumerate(found.restart.tolist()):
        torch.testing.assert_close(found.x_adv[i], starts[restart][i], rtol=0, atol=1e-6)


def test_a_gradient_that_is_no_number_points_nowhere(linear: nn.Module, middle: Pair) -> None:
    class HalfBlind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            half = x.flatten(1)[:, :8]
            return linear(x) + 0 * (half - half.detach()).sqrt().sum(1, keepdim=True)  # 0 times infinity, in its gradient

    x, y = middle
    x_adv = APGD(lp.Linf(EPS), steps=30).without_early_stop()(HalfBlind(), x, y, generator=streams(x))
    start = lp.Linf(EPS).random_start(x, streams(x))
    assert torch.equal(x_adv.flatten(1)[:, :8], start.flatten(1)[:, :8])
    assert (losses.misclassification_margin(linear(x_adv), y) > losses.misclassification_margin(linear(x), y)).float().mean() > 0.8


def test_two_classes(linear: nn.Module, middle: Pair) -> None:
    x, y, model = middle[0], middle[1] % 2, First(linear)
    attack = APGD(lp.Linf(EPS), steps=20)
    targeted = replace(attack, loss=losses.targeted_margin, target_rank=1)
    found = [model(each(model, x, y, generator=streams(x))).argmax(1) for each in (attack, targeted)]
    assert torch.equal(found[0], found[1])
    with pytest.raises(InputError, match="dlr needs at least 3 classes.*use misclassification_margin"):
        replace(attack, loss=losses.dlr)(model, x, y)
    with pytest.raises(InputError, match="target_rank must be at most 1"):
        replace(targeted, target_rank=2)(model, x, y)


def test_ranks_are_of_the_other_classes_by_the_clean_prediction() -> None:
    logits = torch.tensor([[5.0, 1.0, 3.0, 4.0], [0.0, 2.0, 9.0, 2.0], [float("nan"), -torch.inf, -torch.inf, 0.0]])
    y = torch.tensor([0, 3, 1])
    assert [nth_other_class(logits, y, rank).tolist() for rank in (1, 2, 3)] == [[3, 2, 0], [2, 1, 3], [1, 0, 2]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps"),
        ({"restarts": 0}, "restarts"),
        ({"momentum": 1.5}, "momentum"),
        ({"rho": float("nan")}, "rho"),
        ({"target_rank": 0, "loss": losses.targeted_margin}, "target_rank"),
        ({"target_rank": 1}, "loss: must take .*target"),
        ({"loss": losses.targeted_margin}, "loss: must take"),
    ],
)
def test_bad_settings_are_refused(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        APGD(lp.Linf(0.1), **options)


def test_is_stronger_than_pgd_at_the_same_cost_where_steps_are_badly_chosen(trained: nn.Module, sample: Pair) -> None:
    x, y = sample
    ours, pgd = (
        (trained(attack(trained, x, y, generator=streams(x))).argmax(1) == y).sum()
        for attack in (APGD(lp.Linf(0.1), steps=20), PGD(lp.Linf(0.1), step_size=0.001, steps=20))
    )
    assert ours < pgd
