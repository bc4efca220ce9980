"""Schedules at known points, and the moving average by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from logitpair import InputError
from logitpair.config.old_names import modernized_optimizer
from logitpair.optim import Constant, Cosine, Exponential, RMSProp, Steps, decayed_apart, moving_average


def test_constant_is_one() -> None:
    assert [Constant().factor(epoch, 10) for epoch in (0, 3.3, 10)] == [1, 1, 1]


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (2.5, (1 + 2**-0.5) / 2), (5, 0.5), (10, 0), (11, 0)])
def test_cosine_falls_from_one_to_zero(epoch: float, factor: float) -> None:
    assert Cosine().factor(epoch, 10) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.01), (0.01, 0.01), (0.5, 0.25), (1, 0.5), (2, 1), (5, 1)])
def test_cosine_warms_up_linearly_and_never_from_nothing(epoch: float, share: float) -> None:
    assert Cosine(warmup=2).factor(epoch, 10) == pytest.approx(share * Cosine().factor(epoch, 10))


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (2.99, 1), (3, 0.1), (4.5, 0.1), (5, 0.01), (9, 0.01)])
def test_steps_multiplies_at_each_milestone(epoch: float, factor: float) -> None:
    assert Steps(milestones=(3, 5)).factor(epoch, 10) == pytest.approx(factor)


def test_steps_takes_another_gamma() -> None:
    assert Steps(milestones=(2, 4, 6), gamma=0.94).factor(7, 10) == pytest.approx(0.94**3)


def test_bad_schedules_are_refused() -> None:
    with pytest.raises(InputError, match="milestones"):
        Steps(milestones=(5, 3))
    with pytest.raises(InputError, match="warmup"):
        Cosine(warmup=-1)


def test_moving_average_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = moving_average(model, 0.5)
    expected = None
    for t, weight in enumerate([2.0, 4.0, -6.0, 8.0, 10.0, 1.0, 0.0, 3.0, 5.0, 5.0, 7.0]):
        model.weight.data.fill_(weight)
        average.update_parameters(model)
        decay = min(0.5, (1 + t) / (10 + t))  # early on it follows faster
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_moving_average_averages_the_statistics_counts_the_batches_and_keeps_the_model() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    average = moving_average(model, 0.9)
    weight = model[0].weight.detach().clone()
    expected = model[1].running_mean
    for t in range(3):
        model(torch.randn(4, 1, 5, 5))
        average.update_parameters(model)
        decay = (1 + t) / (10 + t)
        expected = torch.lerp(expected, model[1].running_mean, 1 - decay) if t else model[1].running_mean.clone()
    torch.testing.assert_close(average.module[1].running_mean, expected)
    assert not torch.equal(expected, model[1].running_mean)
    assert average.module[1].num_batches_tracked == 3
    assert torch.equal(model[0].weight, weight)
    assert average.module[0].weight.data_ptr() != model[0].weight.data_ptr()


@pytest.mark.parametrize("decay", [0, 1, -0.1, 1.1])
def test_bad_decay_is_refused(decay: float) -> None:
    with pytest.raises(InputError, match="ema"):
        moving_average(nn.Linear(1, 1), decay)


@pytest.mark.parametrize("epoch", [0, 1.99, 2, 3.5, 4, 100, 199.999])
def test_exponential_falls_every_two_epochs_as_the_papers(epoch: float) -> None:
    assert Exponential().factor(epoch, 200) == pytest.approx(0.94 ** (epoch // 2))
    assert Exponential(staircase=False).factor(epoch, 200) == pytest.approx(0.94 ** (epoch / 2))


def test_exponentials_stairs_lie_at_the_papers_steps() -> None:
    per_epoch = -(-1_281_167 // 1600)  # ImageNet in batches of 50 workers of 32 images
    for number in range(1, 100):
        before, at = (0.045 * Exponential().factor(step / per_epoch, 200) for step in (2 * number * per_epoch - 1, 2 * number * per_epoch))
        assert at == pytest.approx(0.045 * 0.94**number)
        assert before == pytest.approx(at / 0.94)


def test_exponentials_stairs_survive_rounding() -> None:
    for number in range(100):
        assert Exponential(gamma=0.5, every=0.1).factor(number * 0.1, 10) == pytest.approx(0.5**number)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_rmsprop_by_hand(weight_decay: float) -> None:
    weight = nn.Parameter(torch.tensor([0.5, -2.0], dtype=torch.float64))
    optimizer = RMSProp([weight], lr=0.3, decay=0.8, momentum=0.7, eps=0.01, weight_decay=weight_decay)
    w, s, v = [0.5, -2.0], [1.0, 1.0], [0.0, 0.0]
    for step in range(5):
        gradient = [math.sin(step + 1.0), 3.0 * step - 4.0]
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = lr = 0.3 * 0.94**step  # as a schedule does; it must not rescale the velocity
        optimizer.step()
        for i in range(2):
            g = gradient[i] + weight_decay * w[i]
            s[i] = 0.8 * s[i] + 0.2 * g**2
            v[i] = 0.7 * v[i] + lr * g / math.sqrt(s[i] + 0.01)
            w[i] -= v[i]
        assert weight.tolist() == pytest.approx(w, rel=1e-12)


def test_rmsprop_goes_on_where_it_was() -> None:
    weights = [nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(2)]
    first, second = (RMSProp([weight]) for weight in weights)
    for step in range(6):
        if step == 3:
            weights[1].data.copy_(weights[0])
            second.load_state_dict(copy.deepcopy(first.state_dict()))
        for weight, optimizer in zip(weights, (first, second), strict=True):
            weight.grad = torch.tensor([step - 2.0, 0.5])
            optimizer.step() if weight is weights[0] or step >= 3 else None
    assert torch.equal(*weights)


def test_rmsprop_goes_on_from_a_checkpoint_of_version_0_1() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = RMSProp([weight], lr=0.1, eps=0.1)
    settings = {"lr": 0.1, "decay": 0.9, "momentum": 0.9, "eps": 0.1, "weight_decay": 0.0, "initial_lr": 0.1, "params": [0]}
    memory = {"mean_square": torch.tensor([0.5, 0.8]), "velocity": torch.tensor([0.1, -0.2])}
    saved = {"state": {0: memory}, "param_groups": [settings]}
    optimizer.load_state_dict(modernized_optimizer(saved, optimizer.state_dict()))
    weight.grad = torch.tensor([1.0, -1.0])
    optimizer.step()
    mean_square = 0.9 * torch.tensor([0.5, 0.8]) + 0.1
    velocity = 0.9 * torch.tensor([0.1, -0.2]) + 0.1 * weight.grad / (mean_square + 0.1).sqrt()
    torch.testing.assert_close(weight.detach(), torch.tensor([1.0, 2.0]) - velocity)
    again = optimizer.state_dict()
    assert modernized_optimizer(again, again) is again


def test_bad_settings_are_refused() -> None:
    weight = [nn.Parameter(torch.zeros(1))]
    for build, named in [
        (lambda: RMSProp(weight, lr=0), "optimizer.lr"),
        (lambda: RMSProp(weight, momentum=1), "optimizer.momentum"),
        (lambda: RMSProp(weight, decay=-0.1), "optimizer.decay"),
        (lambda: RMSProp(weight, weight_decay=-1), "optimizer.weight_decay"),
        (lambda: Exponential(every=0), "schedule.every"),
        (lambda: Exponential(gamma=0), "schedule.gamma"),
        (lambda: Steps(milestones=(1,), gamma=-1), "schedule.gamma must be above 0, not -1"),
        (lambda: Steps(milestones=(1,), gamma=math.nan), "schedule.gamma"),
        (lambda: Steps(milestones=(math.nan, 1)), "schedule.milestones must be at least 0, not nan"),
        (lambda: Steps(milestones=(-1, 1)), "schedule.milestones must be at least 0, not -1"),
    ]:
        with pytest.raises(InputError, match=named):
            build()


def test_weight_decay_leaves_biases_and_batch_norm_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(decayed_apart(model.parameters()), lr=0.5, weight_decay=0.2)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in model.named_parameters():
        kept = 0.9 if name in ("0.weight", "3.weight") else 1
        torch.testing.assert_close(value, kept * before[name])
