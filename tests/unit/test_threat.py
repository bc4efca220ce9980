"""The L-infinity ball."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from logitpair import InputError, Linf
from logitpair.attacks import PGD, fgsm, parse, r_step
from logitpair.rng import ExampleStreams

SHAPE = (3, 1, 2, 2)
pixels = arrays.arrays(np.float64, SHAPE, elements=st.floats(0, 1)).map(torch.from_numpy)
anything = arrays.arrays(np.float64, SHAPE, elements=st.floats(-3, 3)).map(torch.from_numpy)
radii = st.floats(0, 1)


@given(pixels, anything, radii)
def test_projection_is_inside_ball_and_box(x: Tensor, far: Tensor, eps: float) -> None:
    inside = Linf(eps).project(far, x)
    assert (inside - x).abs().max() <= eps + 1e-15
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert Linf(eps).contains(inside, x).all()


@given(pixels, anything, radii)
def test_projection_is_idempotent(x: Tensor, far: Tensor, eps: float) -> None:
    once = Linf(eps).project(far, x)
    assert torch.equal(Linf(eps).project(once, x), once)


@given(pixels, anything, radii, st.integers(0, 2**32))
def test_projection_is_the_nearest_point(x: Tensor, far: Tensor, eps: float, seed: int) -> None:
    ball = Linf(eps)
    other = ball.random_start(x, torch.Generator().manual_seed(seed))  # any point of ball and box
    distance, to_other = (far - ball.project(far, x)).abs(), (far - other).abs()
    assert (distance <= to_other + 1e-12).all()


@given(pixels, radii)
def test_projection_keeps_points_inside(x: Tensor, eps: float) -> None:
    assert torch.equal(Linf(eps).project(x, x), x)


def test_projection_leaves_its_arguments_alone() -> None:
    x, far = torch.rand(SHAPE), torch.randn(SHAPE)
    x_before, far_before = x.clone(), far.clone()
    Linf(0.1).project(far, x)
    assert torch.equal(x, x_before)
    assert torch.equal(far, far_before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("streams", [False, True])
def test_random_start_is_uniform_in_the_ball(dtype: torch.dtype, streams: bool) -> None:
    x = torch.full((200, 1, 16, 16), 0.5, dtype=dtype)
    source = ExampleStreams(7, torch.arange(200)) if streams else torch.Generator().manual_seed(7)
    offset = (Linf(0.25).random_start(x, source) - x).double()
    n = offset.numel()
    assert abs(offset.mean()) < 5 * (0.25 / 3**0.5) / n**0.5
    assert offset.var().item() == pytest.approx(0.25**2 / 3, rel=0.02)
    assert -0.25 <= offset.min() < -0.2499
    assert 0.2499 < offset.max() <= 0.25
    assert offset[0].unique().numel() > 200


def test_random_start_stays_in_the_box() -> None:
    x = torch.tensor([0.0, 1.0, 0.05, 0.95]).repeat(50).view(2, 1, 10, 10)
    start = Linf(0.3).random_start(x, torch.Generator().manual_seed(0))
    assert start.min() >= 0
    assert start.max() <= 1
    assert Linf(0.3).contains(start, x).all()


def test_eps_zero_leaves_only_the_image() -> None:
    x = torch.rand(SHAPE)
    assert torch.equal(Linf(0.0).project(torch.randn(SHAPE), x), x)
    assert torch.equal(Linf(0.0).random_start(x, torch.Generator()), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contains_tolerates_rounding_and_no_more(dtype: torch.dtype) -> None:
    x, ball, unit = torch.full((1, 1, 2, 2), 0.3, dtype=dtype), Linf(8 / 255), torch.finfo(dtype).eps
    assert ball.contains(x + 8 / 255, x).all()
    assert ball.contains(x - (8 / 255 + unit), x).all()
    assert not ball.contains(x + (8 / 255 + 4 * unit), x).any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-6, 1 + 1e-6])
def test_contains_is_false_outside_the_box_or_not_finite_for_that_example_alone(value: float) -> None:
    x = torch.zeros(2, 1, 2, 2) if value < 0.5 else torch.ones(2, 1, 2, 2)
    x_adv = x.clone()
    x_adv[1, 0, 1, 0] = value
    assert Linf(0.5).contains(x_adv, x).tolist() == [True, False]


def test_distance_is_the_largest_change_of_each_example() -> None:
    x = torch.zeros(2, 1, 2, 2)
    x_adv = torch.tensor([[[[0.1, 0.2], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 0.4]]]])
    assert torch.equal(Linf(1.0).distance(x_adv, x), torch.tensor([0.2, 0.4]))


def test_ascent_is_the_sign_and_nan_points_nowhere() -> None:
    gradient = torch.tensor([[-3.0, 0.0, 1e-30, float("nan")]])
    assert Linf(0.1).ascent(gradient).tolist() == [[-1, 0, 1, 0]]


def test_scaled_multiplies_eps() -> None:
    assert Linf(0.2).scaled(0.5) == Linf(0.1)


@pytest.mark.parametrize("eps", [-0.1, 1.01, 8, float("nan"), float("inf")])
def test_bad_eps_is_refused(eps: float) -> None:
    with pytest.raises(InputError, match="eps"):
        Linf(eps)


@pytest.mark.usefixtures("no_shape_checks")
def test_slips_of_type_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="eps must be a number, not '8/255'"):
        Linf(eps="8/255")
    for make in (lambda: PGD(0.1, step_size=0.1, steps=1), lambda: fgsm(0.1), lambda: r_step(0.1)):
        with pytest.raises(InputError, match="threat must be a threat model such as .* not 0.1"):
            make()
    with pytest.raises(InputError, match="None is no text"):
        parse(None)


@pytest.mark.parametrize(("eps", "low", "high"), [(10 / 255, 190, 210), (10.3 / 255, 190, 210), (10.7 / 255, 190, 210), (1.0, 0, 255)])
def test_eight_bits_end_where_the_ball_ends(eps: float, low: int, high: int) -> None:
    x = torch.full((1, 1, 1, 2), 200 / 255, dtype=torch.float64)
    x_adv = (x + eps * torch.tensor([-1.0, 1.0], dtype=torch.float64)).clamp(0, 1)
    assert (255 * Linf(eps).eight_bit(x_adv, x)).flatten().tolist() == pytest.approx([low, high], abs=1e-9)


def test_eight_bits_end_where_the_box_ends() -> None:
    x, x_adv = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[-0.2, 1.2]]]])
    assert Linf(0.5).eight_bit(x_adv, x).flatten().tolist() == [0.0, 1.0]
