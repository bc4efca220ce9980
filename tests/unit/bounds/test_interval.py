"""Intervals from the image to the logits."""

from __future__ import annotations

import pytest
import torch
from bounded_networks import KINDS, images, inside, network
from torch import nn

from logitpair.bounds.interval import intervals
from logitpair.bounds.operations import Interval
from logitpair.bounds.read_graph import read_graph


@pytest.mark.parametrize("eps", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_no_logit_leaves_its_interval(kind: str, eps: float) -> None:
    model, x = network(kind), images(4)
    box = Interval((x - eps).clamp(min=0), (x + eps).clamp(max=1))
    lower, upper = intervals(read_graph(model, x), box)[-1]
    logits = model(inside(box, 100).flatten(0, 1)).unflatten(0, (100, 4))
    assert (lower - 1e-9 <= logits).all()
    assert (logits <= upper + 1e-9).all()
    if not eps:
        torch.testing.assert_close(lower, upper)


def test_two_layers_by_hand() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        for parameter, values in zip(model.parameters(), ([[1, -2], [3, 1]], [0.5, -2], [[2, -1]], [0.25]), strict=True):
            parameter.copy_(torch.tensor(values))
    x = torch.tensor([0.5, 0.25], dtype=torch.float64).view(1, 1, 1, 2)
    found = intervals(read_graph(model, x), Interval(x - 0.25, x + 0.25))
    assert [bound.flatten().tolist() for step in found[1:] for bound in step] == [
        *([0.25, 0.0], [0.75, 0.5]),  # the image
        *([-0.25, -1.25], [1.25, 0.75]),  # (1, -2) x + 0.5 = 0.5 with radius 0.75; (3, 1) x - 2 = -0.25 with radius 1
        *([0.0, 0.0], [1.25, 0.75]),
        *([-0.5], [2.75]),  # 2 * 0 - 0.75 + 0.25; 2 * 1.25 - 0 + 0.25
    ]


def test_what_is_known_of_a_step_takes_the_place_of_its_interval() -> None:
    model, x = network("fully_connected"), images(2)
    graph, box = read_graph(model, x), Interval(x - 0.1, x + 0.1)
    before = intervals(graph, box)
    middle = (before[2].lower + before[2].upper) / 2
    after = intervals(graph, box, {2: Interval(middle, middle)})
    assert torch.equal(after[2].lower, middle)
    torch.testing.assert_close(after[-1].lower, model[2:](middle))
    assert len(intervals(graph, box, last=3)) == 4
