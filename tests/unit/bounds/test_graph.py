"""A network as a list of operations: which steps feed what, and whose intervals are the ranges of their values."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from bounded_networks import KINDS, images, inside, network
from torch import Tensor, nn

from logitpair.bounds.interval import intervals
from logitpair.bounds.operations import Interval
from logitpair.bounds.read_graph import read_graph


def test_the_steps_that_nonlinear_operations_take() -> None:
    graph = read_graph(network("residual"), images(1))
    assert graph.nonlinear_inputs == [1, 5, 9]
    assert graph.logits == len(graph.steps) == len(graph.shapes) - 1 == 12


@pytest.mark.parametrize(
    ("layers", "exact"),
    [
        ([nn.Flatten(), nn.Linear(72, 2)], {0, 1}),  # a reshape mixes as far as its kind shows
        ([nn.Conv2d(2, 1, 3), nn.ReLU(), nn.Flatten()], {0, 1, 2}),
        ([nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 3), nn.LeakyReLU(), nn.Conv2d(1, 1, 3), nn.Flatten()], {0, 1, 2, 3, 4}),
        ([nn.Conv2d(2, 1, 3), nn.MaxPool2d(2), nn.Flatten()], {0, 1}),
        ([nn.MaxPool2d(2), nn.Flatten()], {0}),
    ],
)
def test_which_intervals_are_exact(layers: list[nn.Module], exact: set[int]) -> None:
    graph = read_graph(nn.Sequential(*layers).double(), images(1))
    assert graph.exact == exact


class ThreeLevels(nn.Module):
    """Three ReLUs of each pixel, which go up and down together, and a layer that takes the difference of two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor([0.25, 0.5, 0.75])[:, None, None])
        self.difference = nn.Conv2d(3, 1, 1, bias=False)
        self.difference.weight.data.copy_(torch.tensor([1.0, -1.0, 0.0])[None, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.difference(F.relu(x - self.levels)).flatten(1)


def test_what_a_constant_spreads_over_channels_is_not_free() -> None:
    x = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    graph = read_graph(ThreeLevels().double(), x)
    assert graph.exact == {0, 1, 2}
    assert intervals(graph, Interval(0 * x, 0 * x + 1))[graph.logits].lower.min() == -0.5, "each channel by itself; the truth is 0"


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_near_both_ends_of_an_exact_interval(kind: str) -> None:
    """By the corner at which each number of the step is largest, which its gradient tells, since one layer of weights is monotone."""
    graph, x = read_graph(network(kind), images(1)), images(1)
    box = Interval((x - 0.1).clamp(min=0), (x + 0.1).clamp(max=1))
    bounds = intervals(graph, box)
    exact = graph.exact - {0}
    assert exact
    for number in exact:
        point = box.lower + (box.upper - box.lower) * 0.37
        point.requires_grad_()
        value = intervals(graph, Interval(point, point), last=number)[number].lower.flatten()
        for i in range(min(5, len(value))):
            (gradient,) = torch.autograd.grad(value[i], point, retain_graph=True)
            for sign, end in ((1, bounds[number].upper), (-1, bounds[number].lower)):
                corner = torch.where(sign * gradient > 0, box.upper, box.lower)
                reached = intervals(graph, Interval(corner, corner), last=number)[number].lower.flatten()[i]
                if gradient.any():  # not a ReLU that is off at the point
                    torch.testing.assert_close(reached, end.flatten()[i])


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_lies_within_its_interval(kind: str) -> None:
    graph, x = read_graph(network(kind), images(1)), images(3)
    box = Interval((x - 0.1).clamp(min=0), (x + 0.1).clamp(max=1))
    bounds = intervals(graph, box)
    points = inside(box, 40).flatten(0, 1)
    for bound, value in zip(bounds, intervals(graph, Interval(points, points)), strict=True):
        values = value.lower.unflatten(0, (40, 3))
        assert (bound.lower - 1e-9 <= values).all()
        assert (values <= bound.upper + 1e-9).all()
