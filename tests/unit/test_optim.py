"""Schedules at known points, and the moving average by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from logitpair import InputError
from logitpair.optim import Constant, Cosine, Steps, moving_average


def test_constant_is_one() -> None:
    assert [Constant().factor(epoch, 10) for epoch in (0, 3.3, 10)] == [1, 1, 1]


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (2.5, (1 + 2**-0.5) / 2), (5, 0.5), (10, 0), (11, 0)])
def test_cosine_falls_from_one_to_zero(epoch: float, factor: float) -> None:
    assert Cosine().factor(epoch, 10) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0), (0.5, 0.25), (1, 0.5), (2, 1), (5, 1)])
def test_cosine_warms_up_linearly(epoch: float, share: float) -> None:
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


def test_moving_average_copies_the_buffers_and_keeps_the_model() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    average = moving_average(model, 0.9)
    weight = model[0].weight.detach().clone()
    for _ in range(3):
        model(torch.randn(4, 1, 5, 5))
        average.update_parameters(model)
    assert torch.equal(average.module[1].running_mean, model[1].running_mean)
    assert average.module[1].num_batches_tracked == 3
    assert torch.equal(model[0].weight, weight)
    assert average.module[0].weight.data_ptr() != model[0].weight.data_ptr()


@pytest.mark.parametrize("decay", [0, 1, -0.1, 1.1])
def test_bad_decay_is_refused(decay: float) -> None:
    with pytest.raises(InputError, match="ema"):
        moving_average(nn.Linear(1, 1), decay)
