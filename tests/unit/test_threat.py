"""The balls: what both norms keep, and what each does by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy.optimize import minimize
from torch import Tensor

from logitpair import L2, InputError, Linf, Threat
from logitpair.attacks import PGD, fgsm, parse, r_step
from logitpair.rng import ExampleStreams

SHAPE = (3, 1, 2, 2)
pixels = arrays.arrays(np.float64, SHAPE, elements=st.floats(0, 1)).map(torch.from_numpy)
anything = arrays.arrays(np.float64, SHAPE, elements=st.floats(-3, 3)).map(torch.from_numpy)
radii = st.floats(0, 1)
balls = st.one_of(st.builds(Linf, radii), st.builds(L2, st.floats(0, 2.5)))
both = pytest.mark.parametrize("norm", [Linf, L2])


@given(pixels, anything, balls)
def test_projection_is_inside_ball_and_box(x: Tensor, far: Tensor, ball: Threat) -> None:
    inside = ball.project(far, x)
    order = torch.inf if isinstance(ball, Linf) else 2
    assert torch.linalg.vector_norm((inside - x).flatten(1), order, dim=1).max() <= ball.eps + 1e-15
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert ball.contains(inside, x).all()


@given(pixels, anything, balls)
def test_projection_is_idempotent(x: Tensor, far: Tensor, ball: Threat) -> None:
    once = ball.project(far, x)
    assert torch.equal(ball.project(once, x), once)


@given(pixels, anything, balls, st.integers(0, 2**32))
def test_projection_is_the_nearest_point(x: Tensor, far: Tensor, ball: Threat, seed: int) -> None:
    other = ball.random_start(x, torch.Generator().manual_seed(seed))  # any point of ball and box
    nearest = ball.project(far, x)
    beyond = ((far - nearest) * (other - nearest)).flatten(1).sum(1)  # a plane through the nearest point parts the set from what is far
    assert (beyond <= 1e-12).all()


@given(pixels, balls)
def test_projection_keeps_points_inside(x: Tensor, ball: Threat) -> None:
    assert torch.equal(ball.project(x, x), x)


@both
def test_projection_leaves_its_arguments_alone(norm: type[Threat]) -> None:
    x, far = torch.rand(SHAPE), torch.randn(SHAPE)
    x_before, far_before = x.clone(), far.clone()
    norm(0.1).project(far, x)
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


@both
def test_random_start_stays_in_the_box(norm: type[Threat]) -> None:
    x = torch.tensor([0.0, 1.0, 0.05, 0.95]).repeat(50).view(2, 1, 10, 10)
    start = norm(0.3).random_start(x, torch.Generator().manual_seed(0))
    assert start.min() >= 0
    assert start.max() <= 1
    assert norm(0.3).contains(start, x).all()


@both
def test_eps_zero_leaves_only_the_image(norm: type[Threat]) -> None:
    x = torch.rand(SHAPE)
    assert torch.equal(norm(0.0).project(torch.randn(SHAPE), x), x)
    assert torch.equal(norm(0.0).random_start(x, torch.Generator()), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contains_tolerates_rounding_and_no_more(dtype: torch.dtype) -> None:
    x, ball, unit = torch.full((1, 1, 2, 2), 0.3, dtype=dtype), Linf(8 / 255), torch.finfo(dtype).eps
    assert ball.contains(x + 8 / 255, x).all()
    assert ball.contains(x - (8 / 255 + unit), x).all()
    assert not ball.contains(x + (8 / 255 + 4 * unit), x).any()


@both
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-6, 1 + 1e-6])
def test_contains_is_false_outside_the_box_or_not_finite_for_that_example_alone(norm: type[Threat], value: float) -> None:
    x = torch.zeros(2, 1, 2, 2) if value < 0.5 else torch.ones(2, 1, 2, 2)
    x_adv = x.clone()
    x_adv[1, 0, 1, 0] = value
    assert norm(0.5).contains(x_adv, x).tolist() == [True, False]


def test_distance_is_the_largest_change_of_each_example() -> None:
    x = torch.zeros(2, 1, 2, 2)
    x_adv = torch.tensor([[[[0.1, 0.2], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 0.4]]]])
    assert torch.equal(Linf(1.0).distance(x_adv, x), torch.tensor([0.2, 0.4]))


def test_ascent_is_the_sign_and_nan_points_nowhere() -> None:
    gradient = torch.tensor([[-3.0, 0.0, 1e-30, float("nan")]])
    assert Linf(0.1).ascent(gradient).tolist() == [[-1, 0, 1, 0]]


@given(pixels, anything, balls, st.sampled_from([torch.float32, torch.float64]))
def test_the_accepting_ball_holds_what_contains_accepts(x: Tensor, far: Tensor, ball: Threat, dtype: torch.dtype) -> None:
    x, order = x.to(dtype), torch.inf if isinstance(ball, Linf) else 2
    most = 1.0 if isinstance(ball, Linf) else math.inf
    point = replace(ball, eps=min(ball.eps + ball.rounding(x), most)).project(far.to(dtype), x)
    reach = torch.linalg.vector_norm((point.double() - x.double()).flatten(1), order, dim=1)
    assert (reach[ball.contains(point, x)] <= ball.accepting(x).eps).all()
    assert min(ball.eps, ball.covering(4).eps) <= ball.accepting(x).eps <= ball.eps + 4 * ball.rounding(x)


@both
def test_scaled_multiplies_eps(norm: type[Threat]) -> None:
    assert norm(0.2).scaled(0.5) == norm(0.1)


@both
@pytest.mark.parametrize("eps", [-0.1, 1.01, 8, float("nan"), float("inf")])
def test_bad_eps_is_refused(norm: type[Threat], eps: float) -> None:
    if norm is L2 and 1 < eps < 10:  # a distance over many pixels
        assert L2(eps).eps == eps
        return
    with pytest.raises(InputError, match="eps"):
        norm(eps)


def test_balls_of_one_radius_differ_by_their_norm() -> None:
    assert Linf(0.5) != L2(0.5)
    with pytest.raises(TypeError, match="abstract"):
        Threat(0.5)


@both
@pytest.mark.parametrize("eps", [0.3, 0.8])
def test_the_support_is_the_largest_of_the_ball_and_is_reached(norm: type[Threat], eps: float) -> None:
    weights, ball = torch.randn(2, 5, 7, dtype=torch.float64), norm(eps)
    most = ball.support(weights)
    assert most.shape == (2, 5)
    torch.testing.assert_close((weights * eps * ball.ascent(weights.flatten(0, 1)).view_as(weights)).sum(2), most)
    x = torch.full((10, 1000, 7), 0.5, dtype=torch.float64).flatten(0, 1)
    others = norm(min(eps, 0.5)).random_start(x, torch.Generator().manual_seed(0)).view(10, 1000, 7) - 0.5
    assert ((others * weights.view(10, 1, 7)).sum(2) <= most.view(10, 1) + 1e-12).all()


@both
@given(pixels, pixels)
def test_the_covering_ball_holds_every_image(norm: type[Threat], x: Tensor, other: Tensor) -> None:
    ball = norm(0.1).covering(4)
    assert ball.contains(other, x).all()
    corners = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert ball.distance(*corners).item() == pytest.approx(ball.eps), "no smaller one does"


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


def test_the_nearest_point_in_l2_by_hand() -> None:
    """Clipped one after the other, box and ball give (1, 0.8) or (1, 0.95): the first pixel has only 0.1 to its wall."""
    x, far = torch.tensor([[[[0.9, 0.5]]]]), torch.tensor([[[[1.9, 1.5]]]])
    found = L2(0.4).project(far, x).flatten()
    assert found.tolist() == pytest.approx([1.0, 0.5 + (0.16 - 0.01) ** 0.5])


def test_the_nearest_point_in_l2_is_what_a_quadratic_programme_finds() -> None:
    source = torch.Generator().manual_seed(0)
    x = (1.4 * torch.rand(12, 1, 3, 4, generator=source, dtype=torch.float64) - 0.2).clamp(0, 1)
    far, eps = x + torch.randn(x.shape, generator=source, dtype=torch.float64), 0.7
    found = L2(eps).project(far, x).flatten(1).numpy()
    walls = ((found == 0) | (found == 1)).sum(1)
    assert walls.min() > 0, "the test needs walls that are met"
    for point, start, goal in zip(found, x.flatten(1).numpy(), far.flatten(1).numpy(), strict=True):
        in_ball = {
            "type": "ineq",
            "fun": lambda z, start=start: eps**2 - ((z - start) ** 2).sum(),
            "jac": lambda z, start=start: 2 * (start - z),
        }
        solved = minimize(
            lambda z, goal=goal: ((z - goal) ** 2).sum(),
            start,
            jac=lambda z, goal=goal: 2 * (z - goal),
            bounds=[(0, 1)] * 12,
            constraints=in_ball,
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        assert np.abs(solved.x - point).max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e6, 1e20, 1e37])
def test_projection_in_l2_is_exact_to_rounding_for_a_photo(dtype: torch.dtype, scale: float) -> None:
    source = torch.Generator().manual_seed(0)
    x = (1.4 * torch.rand(4, 3, 64, 64, dtype=dtype, generator=source) - 0.2).clamp(0, 1)
    direction = torch.randn(x.shape, dtype=dtype, generator=source)
    found, ball = L2(3.0).project(x + scale * direction, x), L2(3.0)
    lengths = [math.sqrt(math.fsum(image)) for image in (found - x).double().square().flatten(1).tolist()]
    assert max(abs(length - 3.0) for length in lengths) < 10 * torch.finfo(dtype).eps
    assert ball.contains(found, x).all()
    if scale > 1:
        torch.testing.assert_close(found, ball.project(x + 1e4 * direction, x), rtol=0, atol=1e-3)


def test_projection_in_l2_leaves_nan_to_its_own_example() -> None:
    x, far = torch.full((2, 1, 2, 2), 0.5), torch.full((2, 1, 2, 2), 0.9)
    far[0, 0, 0, 0] = float("nan")
    found = L2(0.2).project(far, x)
    assert L2(0.2).contains(found, x).tolist() == [False, True]
    assert found[1].flatten().tolist() == pytest.approx([0.6] * 4)
    far[0, 0, 0, 0] = float("inf")
    found = L2(0.2).project(far, x)
    assert found[0].flatten().tolist() == pytest.approx([0.7, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("streams", [False, True])
def test_random_start_in_l2_is_uniform_in_the_ball(streams: bool) -> None:
    x = torch.full((4000, 1, 1, 3), 0.5, dtype=torch.float64)
    source = ExampleStreams(7, torch.arange(4000)) if streams else torch.Generator().manual_seed(7)
    offset = (L2(0.25).random_start(x, source) - x).flatten(1) / 0.25
    length = offset.norm(dim=1)
    assert length.max() <= 1
    for part in (0.3, 0.5, 0.8, 0.95):
        assert (length < part).double().mean().item() == pytest.approx(part**3, abs=0.03)
    assert offset.mean(0).abs().max() < 0.04
    assert (offset.T @ offset / 4000 - torch.eye(3) / 5).abs().max() < 0.02, "all directions alike"


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_ascent_in_l2_has_length_1_whatever_the_gradients(scale: float) -> None:
    gradient = scale * torch.tensor([[[[3.0, 0.0], [0.0, -4.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    found = L2(0.1).ascent(gradient)
    assert found.flatten().tolist() == pytest.approx([0.6, 0, 0, -0.8, 0, 0, 0, 0])


def test_ascent_in_l2_takes_nan_for_0_and_infinity_for_the_largest() -> None:
    nan, inf = float("nan"), float("inf")
    gradient = torch.tensor([[[[3.0, nan], [nan, -4.0]]], [[[nan, nan], [nan, nan]]], [[[-inf, 5.0], [0.0, 0.0]]]])
    found = L2(0.1).ascent(gradient).flatten(1)
    assert found[0].tolist() == pytest.approx([0.6, 0, 0, -0.8])
    assert found[1].tolist() == [0, 0, 0, 0]
    assert found[2].tolist() == pytest.approx([-1, 0, 0, 0], abs=1e-30)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contains_in_l2_tolerates_the_rounding_of_every_value_and_no_more(dtype: torch.dtype) -> None:
    x, unit = torch.full((1, 3, 32, 32), 0.3, dtype=dtype), torch.finfo(dtype).eps
    on = x + 0.5 / 3072**0.5
    assert L2(0.5).contains(on, x).all()
    assert not L2(0.5).contains(on + 2 * unit, x).any()


def test_distance_in_l2_is_euclidean() -> None:
    x = torch.zeros(2, 1, 2, 2)
    x_adv = torch.tensor([[[[0.3, 0.4], [0.0, 0.0]]], [[[0.1, 0.1], [0.1, 0.1]]]])
    assert L2(1.0).distance(x_adv, x).tolist() == pytest.approx([0.5, 0.2])


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
def test_eight_bits_in_l2_stay_in_the_ball_as_near_as_may_be(spread: float) -> None:
    source = torch.Generator().manual_seed(0)
    x = (255 * torch.rand(20, 3, 8, 8, generator=source)).round() / 255
    ball = L2(0.3)
    x_adv = ball.project(x + spread * torch.randn(x.shape, generator=source), x)
    found, nearest = ball.eight_bit(x_adv, x), (255 * x_adv).round() / 255
    assert ball.contains(found, x).all()
    assert not ball.contains(nearest, x).all(), "the test needs some that rounding moves out"
    torch.testing.assert_close(255 * found, (255 * found).round(), rtol=0, atol=1e-4)
    truncated = x + ((255 * (x_adv - x)).trunc()) / 255
    assert ((found - x_adv).flatten(1).norm(dim=1) < (truncated - x_adv).flatten(1).norm(dim=1)).all()
    assert ((found - x).flatten(1).norm(dim=1) > 0.29).all(), "not pulled back further than it must be"


def test_eight_bits_in_l2_by_hand() -> None:
    x = torch.full((1, 1, 1, 3), 100 / 255, dtype=torch.float64)
    moved = torch.tensor([2.6, 1.7, -0.4], dtype=torch.float64).view(1, 1, 1, 3)  # of squared length 9.81
    for squared, expected in ((13.5, [3, 2, 0]), (9.9, [2, 2, 0]), (8, [2, 2, 0]), (7, [2, 1, 0])):
        found = L2(squared**0.5 / 255).eight_bit(x + moved / 255, x)
        assert (255 * (found - x)).flatten().tolist() == pytest.approx(expected, abs=1e-9)


def test_eight_bits_in_l2_of_an_image_between_multiples_may_lie_outside() -> None:
    x = torch.full((1, 1, 1, 2), 100.5 / 255, dtype=torch.float64)
    found = L2(0.1 / 255).eight_bit(x, x)
    assert not L2(0.1 / 255).contains(found, x).any()
    found = L2(0.8 / 255).eight_bit(x + 0.4 / 255, x)
    assert (255 * found).flatten().tolist() == pytest.approx([101, 101])
