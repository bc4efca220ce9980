"""Each operation: its value, its interval, its transpose, and the linear functions between which it lies."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from bounded_networks import inside
from torch import Tensor, nn

from logitpair.bounds.operations import (
    Affine,
    BatchNorm,
    Conv2d,
    Interval,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Nonlinear,
    NonnegativeLinear,
    Scale,
    Shape,
    Sum,
)

Function = Callable[..., Tensor]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def random_interval(batch: int, shape: Shape, seed: int = 0) -> Interval:
    """Around 0, some of them a single point, some wholly on one side."""
    center, radius = random(batch, *shape, seed=seed), random(batch, *shape, seed=seed + 1).clamp(min=0)
    return Interval(center - radius, center + radius)


def with_weights(module: nn.Module, seed: int = 0) -> nn.Module:
    """In eval mode, with random weights and statistics."""
    for number, tensor in enumerate([*module.parameters(), *module.buffers()]):
        if tensor.is_floating_point():
            tensor.data = random(*tensor.shape, seed=seed + number)
    if getattr(module, "running_var", None) is not None:
        module.running_var.abs_().add_(0.1)
    return module.eval()


def convolution(padding: tuple[int, int] = (0, 0), **settings: object) -> tuple[Affine, Function, list[Shape]]:
    module = with_weights(nn.Conv2d(2, 4, **{"kernel_size": 3, "padding": padding, **settings}))
    return Conv2d(module, padding), module, [(2, 6, 5)]


def batch_norm(module: nn.Module, shape: Shape) -> tuple[Affine, Function, list[Shape]]:
    with_weights(module)
    return BatchNorm(module), module, [shape]


def linear(bias: bool) -> tuple[Affine, Function, list[Shape]]:
    module = with_weights(nn.Linear(6, 4, bias=bias))
    return Linear(module), module, [(6,)]


def average(function: Function, *shapes: Shape) -> tuple[Affine, Function, list[Shape]]:
    return NonnegativeLinear(function), function, list(shapes)


FACTOR, SHIFT = random(2, 1, 1, seed=5), random(2, 1, 1, seed=6)
AFFINE: dict[str, tuple[Affine, Function, list[Shape]]] = {
    "linear": linear(True),
    "linear without bias": linear(False),
    "conv": convolution(),
    "conv with stride": convolution(stride=2),
    "conv with stride that leaves a rest": convolution(stride=(3, 2), kernel_size=(2, 3)),
    "conv with padding": convolution((1, 2), bias=False),
    "conv with padding and stride": convolution((1, 1), stride=2),
    "conv with dilation": convolution((2, 1), dilation=(2, 1)),
    "conv in groups": convolution((1, 1), groups=2, stride=(1, 2)),
    "batch norm of images": batch_norm(nn.BatchNorm2d(2), (2, 3, 3)),
    "batch norm of vectors": batch_norm(nn.BatchNorm1d(4), (4,)),
    "batch norm without weights": batch_norm(nn.BatchNorm2d(2, affine=False, eps=0.3), (2, 3, 2)),
    "scale": (Scale(FACTOR, SHIFT), lambda x: x * FACTOR + SHIFT, [(2, 3, 3)]),
    "sum": (Sum(), torch.add, [(2, 3), (2, 3)]),
    "difference": (Sum(-1), torch.sub, [(2, 3), (2, 3)]),
    "sum that broadcasts": (Sum(), torch.add, [(2, 3, 3), (2, 1, 1)]),
    "join": average(lambda *x: torch.cat(x, 1), (2, 3, 2), (1, 3, 2)),
    "average pool": average(nn.AvgPool2d(3, stride=2, padding=1), (2, 5, 4)),
    "average pool without the padding": average(nn.AvgPool2d(2, padding=1, count_include_pad=False, ceil_mode=True), (1, 4, 5)),
    "adaptive average pool": average(nn.AdaptiveAvgPool2d((2, 3)), (2, 5, 4)),
    "padding": average(nn.ZeroPad2d((1, 0, 2, 1)), (1, 3, 2)),
    "reshape": average(nn.Flatten(), (2, 3, 2)),
}
affine = pytest.mark.parametrize("name", AFFINE)


def jacobian(function: Function, shapes: list[Shape]) -> list[Tensor]:
    """Of one example, by each input, ``[*output, *input]``."""
    found = torch.autograd.functional.jacobian(lambda *x: function(*[part[None] for part in x])[0], tuple(random(*s) for s in shapes))
    return list(found)


@affine
def test_the_center_is_the_function(name: str) -> None:
    operation, function, shapes = AFFINE[name]
    x = [random(3, *shape, seed=number) for number, shape in enumerate(shapes)]
    torch.testing.assert_close(operation.center(*x), function(*x))


@affine
def test_an_affine_interval_is_exact(name: str) -> None:
    operation, function, shapes = AFFINE[name]
    inputs = [random_interval(3, shape, seed=7 * number) for number, shape in enumerate(shapes)]
    lower, upper = operation.interval(*inputs)
    middle = function(*[(low + high) / 2 for low, high in inputs])
    reach = sum(
        torch.einsum("oi,bi->bo", j.abs().reshape(middle[0].numel(), -1), (high - low).flatten(1) / 2)
        for j, (low, high) in zip(jacobian(function, shapes), inputs, strict=True)
    ).view_as(middle)
    torch.testing.assert_close(lower, middle - reach)
    torch.testing.assert_close(upper, middle + reach)


@affine
def test_the_transpose_is_the_jacobians(name: str) -> None:
    operation, function, shapes = AFFINE[name]
    by_each = jacobian(function, shapes)
    output = function(*[random(1, *shape) for shape in shapes])[0].shape
    rows = random(3, *output)
    found = operation.transpose(rows, shapes)
    assert len(found) == len(shapes)
    for part, j, shape in zip(found, by_each, shapes, strict=True):
        torch.testing.assert_close(part, (rows.flatten(1) @ j.reshape(output.numel(), -1)).view(3, *shape))


@affine
def test_the_transpose_has_a_gradient_where_one_is_wanted_alone(name: str) -> None:
    operation, function, shapes = AFFINE[name]
    rows = random(2, *function(*[random(1, *shape) for shape in shapes])[0].shape).requires_grad_()
    found = operation.transpose(rows, shapes)
    assert all(part.requires_grad for part in found)
    (gradient,) = torch.autograd.grad(sum(part.sum() for part in found), rows)
    ones = [torch.ones(2, *shape, dtype=torch.float64) for shape in shapes]
    constant = operation.center(*[torch.zeros_like(one) for one in ones])
    torch.testing.assert_close(gradient, operation.center(*ones) - constant)  # the transpose of the transpose
    with torch.no_grad():
        assert not any(part.requires_grad for part in operation.transpose(rows.detach(), shapes))


def test_batch_norm_normalises_by_what_it_is_given() -> None:
    norm = with_weights(nn.BatchNorm2d(2))
    x = random(5, 2, 3, 3, seed=3)
    scale = BatchNorm(norm).scale(x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0))
    torch.testing.assert_close(scale.center(x), norm.train()(x))


POOLS: dict[str, dict[str, object]] = {
    "apart": {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)},
    "overlapping": {"kernel_size": (3, 3), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)},
    "padded": {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 1), "dilation": (1, 1)},
    "dilated": {"kernel_size": (2, 3), "stride": (1, 1), "padding": (1, 0), "dilation": (3, 2)},
}
NONLINEAR: dict[str, tuple[Nonlinear, Function, Shape]] = {
    "relu": (LeakyReLU(), F.relu, (4, 3)),
    "leaky relu": (LeakyReLU(0.3), lambda x: F.leaky_relu(x, 0.3), (2, 3, 2)),
    **{f"max pool, {name}": (MaxPool2d(pool), lambda x, pool=pool: F.max_pool2d(x, **pool), (2, 5, 6)) for name, pool in POOLS.items()},
}
nonlinear = pytest.mark.parametrize("name", NONLINEAR)
seeds = pytest.mark.parametrize("seed", range(3))


@nonlinear
def test_a_monotone_interval_is_exact(name: str) -> None:
    operation, function, shape = NONLINEAR[name]
    inputs = random_interval(3, shape)
    found = operation.interval(inputs)
    torch.testing.assert_close(found.lower, function(inputs.lower))
    torch.testing.assert_close(found.upper, function(inputs.upper))


@seeds
@nonlinear
def test_the_relaxation_lies_below_everywhere(name: str, seed: int) -> None:
    operation, function, shape = NONLINEAR[name]
    inputs = random_interval(3, shape, seed=10 * seed)
    rows = random(3, 5, *function(inputs.lower).shape[1:], seed=seed)
    slope = torch.rand(3, 5, *shape, generator=seeded(seed), dtype=torch.float64)
    for given in (None, slope, torch.zeros_like(slope), torch.ones_like(slope)):
        coefficients, constant = operation.relax(rows, inputs, given)
        assert coefficients.shape == (3, 5, *shape)
        for x in inside(inputs, 200, seed):
            value = (rows * function(x).unsqueeze(1)).flatten(2).sum(2)
            assert ((coefficients * x.unsqueeze(1)).flatten(2).sum(2) + constant <= value + 1e-12).all()


@pytest.mark.parametrize("least", [0.0, 0.25])
@pytest.mark.parametrize(("lower", "upper"), [(-1.0, 3.0), (-3.0, 1.0), (-2.0, 2.0), (0.0, 1.0), (0.5, 2.0), (-2.0, 0.0), (-1.0, -0.5)])
def test_the_lines_around_a_relu(least: float, lower: float, upper: float) -> None:
    operation = LeakyReLU(least)
    inputs = Interval(*(torch.tensor([[bound]], dtype=torch.float64) for bound in (lower, upper)))

    def line(sign: float, x: float, slope: float | None = None) -> float:
        given = None if slope is None else torch.tensor([[[slope]]], dtype=torch.float64)
        coefficient, constant = operation.relax(torch.tensor([[[sign]]], dtype=torch.float64), inputs, given)
        return sign * float(coefficient * x + constant)

    def exact(x: float) -> float:
        return x if x > 0 else least * x

    for end in (lower, upper):  # above, it is the chord
        assert line(-1, end) == pytest.approx(exact(end))
    assert line(1, 0) == 0
    if lower < 0 < upper:
        assert line(1, 1) == (1 if upper > -lower else least)
        assert line(1, 1, slope=0.5) == least + (1 - least) / 2
    else:
        for x in (lower, upper):
            assert line(1, x) == line(1, x, slope=0.5) == pytest.approx(exact(x))


def test_a_maximum_that_is_always_the_same_inputs_is_exact() -> None:
    """The second input of the first window is always the largest, no input of the second one is."""
    operation = MaxPool2d({"kernel_size": (1, 2), "stride": (1, 2), "padding": (0, 0), "dilation": (1, 1)})
    inputs = Interval(torch.tensor([[[[0.0, 2.0, 0.0, 0.5]]]]), torch.tensor([[[[2.0, 3.0, 1.0, 0.8]]]]))
    coefficients, constant = operation.relax(torch.tensor([[[[[1.0, 1.0]]], [[[-1.0, -1.0]]]]]), inputs, None)
    assert coefficients.flatten(2).tolist() == [[[0, 1, 0, 1], [0, -1, 0, 0]]]
    assert constant.tolist() == [[0, -1]]


def test_an_input_that_several_windows_share_is_counted_in_each() -> None:
    operation = MaxPool2d({"kernel_size": (1, 2), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)})
    image = torch.tensor([[[[0.0, 5.0, 1.0]]]])
    coefficients, constant = operation.relax(torch.tensor([[[[[1.0, -3.0]]]]]), Interval(image - 0.1, image + 0.1), None)
    assert coefficients.flatten().tolist() == [0, -2, 0]
    assert constant.item() == 0


@pytest.mark.parametrize("name", ["relu", "leaky relu"])
def test_the_interval_of_every_corner_is_that_of_the_network(name: str) -> None:
    """A linear layer and its activation on three inputs, against all eight corners."""
    operation, function, _ = NONLINEAR[name]
    module = with_weights(nn.Linear(3, 5))
    x = random_interval(2, (3,), seed=4)
    corners = [torch.where(torch.tensor(corner), x.upper, x.lower) for corner in product((False, True), repeat=3)]
    values = torch.stack([function(module(corner)) for corner in corners])
    found = operation.interval(Linear(module).interval(x))
    torch.testing.assert_close(found.lower, values.amin(0))
    torch.testing.assert_close(found.upper, values.amax(0))


def test_the_width_is_between_the_ends() -> None:
    assert Interval(torch.tensor([1.0, -2.0]), torch.tensor([1.0, 3.0])).width.tolist() == [0, 5]
