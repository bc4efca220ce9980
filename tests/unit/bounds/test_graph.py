"""A network as a list of operations: which steps feed what, and whose intervals are the ranges of their values."""

from __future__ import annotations

import pytest
import torch
from bounded_networks import KINDS, images, inside, network
from torch import nn

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


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_network_has_the_same_intervals_and_gradients(kind: str) -> None:
    model, x = network(kind), images(3)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    given = {norm: (norm.running_mean + 0.1, norm.running_var * 1.5) for norm in norms}
    graph = read_graph(model, x).normalised_by(given)
    merged = graph.merged
    assert len(graph.steps) - len(merged.steps) == {"convolutions": 2, "residual": 1}.get(kind, 0)
    box = Interval((x - 0.1).clamp(min=0), (x + 0.1).clamp(max=1))
    found = [intervals(each, box)[-1] for each in (graph, merged)]
    torch.testing.assert_close(found[1], found[0])
    gradients = [
        torch.autograd.grad((ends.upper - ends.lower**2).sum(), [*model.parameters()], retain_graph=True, allow_unused=True)
        for ends in found
    ]
    torch.testing.assert_close(gradients[1], gradients[0])


class Kept(nn.Module):
    """BatchNorms that are no part of the layer before: one whose value is used again, and one over channels that Linear leaves alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.linear, self.channels = nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 2), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        return self.channels(self.linear(x + self.norm(x))).flatten(1)


def test_what_is_not_one_with_the_layer_before_is_not_merged() -> None:
    model, x = Kept().double().eval(), images(2)
    graph = read_graph(model, x).normalised_by(
        {norm: (torch.rand(2).double(), torch.rand(2).double()) for norm in (model.norm, model.channels)}
    )
    assert graph.merged == graph
    box = Interval(x, x)
    torch.testing.assert_close(intervals(graph.merged, box)[-1], intervals(graph, box)[-1])
