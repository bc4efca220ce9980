"""Iterated local search: a ReLU network whose every image is known and that gradients alone do not break, kicks and selection by hand."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError, losses
from logitpair.attacks import IteratedLocalSearch
from logitpair.attacks.iterated_local_search import Chains, between
from logitpair.rng import ExampleStreams

Pair = tuple[Tensor, Tensor]


def streams(x: Tensor) -> ExampleStreams:
    return ExampleStreams(0, torch.arange(len(x)))


INVERTED = torch.tensor([0.0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1]).view(1, 3, 4)  # pixels, at random: no start by blocks helps


class NarrowBasins(nn.Module):
    """Sums ``max(3 (s - 1), 6 (0.6 - s), 0)`` over the pairs of pixels of a 3x4 image, ``s`` being the sum of a pair.

    A pair's best value is 3.6, with both pixels at 0, and from most starts the gradient leads to 3, with both at 1. The second logit, the
    sum, exceeds the first only where all six pairs are at 0.
    """

    def forward(self, x: Tensor) -> Tensor:
        pairs = (x - INVERTED).abs().reshape(len(x), 6, 2).sum(2)
        value = (torch.relu(3 * (pairs - 1)) + torch.relu(6 * (0.6 - pairs))).sum(1)
        return torch.stack([torch.full_like(value, 6 * 3.6 - 0.3), value], 1)


@pytest.fixture
def gray() -> Pair:
    return torch.full((4, 1, 3, 4), 0.5), torch.zeros(4, dtype=torch.int64)


def test_finds_the_one_corner_of_4096_that_gradients_miss(gray: Pair) -> None:
    x, y = gray
    model, threat = NarrowBasins(), lp.Linf(0.5)
    every_corner = torch.tensor(list(itertools.product([0.0, 1.0], repeat=12))).view(-1, 1, 3, 4)
    broken = every_corner[model(every_corner).argmax(1) == 1]  # a sum of convex functions is largest at a corner
    assert torch.equal(broken, INVERTED[None])
    attack = IteratedLocalSearch(threat, chains=2, kicks=150, steps=3, first_steps=5)
    found = attack.find(model, x, y, generator=streams(x))
    assert (model(found.x_adv).argmax(1) == 1).all()
    assert (found.gradients < attack.chains * (attack.first_steps + attack.kicks * attack.steps)).all()
    restarts = IteratedLocalSearch(threat, chains=200, kicks=0, first_steps=5).find(model, x, y, generator=streams(x))
    assert restarts.gradients.sum() > found.gradients.sum()
    assert (model(restarts.x_adv).argmax(1) == 0).all(), "as many gradients in restarts find it too"


@pytest.mark.parametrize("early_stop", [True, False])
def test_what_is_counted_is_what_went_through_the_model(early_stop: bool, trained: nn.Module, digits: Pair) -> None:
    x, y = digits[0][:40], digits[1][:40]
    seen = {True: 0, False: 0}

    def count(_: nn.Module, given: tuple[Tensor]) -> None:
        seen[given[0].requires_grad] += len(given[0])

    handle = trained.register_forward_pre_hook(count)
    attack = IteratedLocalSearch(lp.Linf(0.1), chains=3, kicks=4, steps=3, first_steps=5, early_stop=early_stop)
    found = attack.find(trained, x, y, generator=streams(x))
    handle.remove()
    assert (int(found.gradients.sum()), int(found.forwards.sum())) == (seen[True], seen[False])
    broken = trained(found.x_adv).argmax(1) != y
    assert 0 < broken.sum() < 40
    searched_to_the_end = (found.gradients == 3 * (5 + 4 * 3)) & (found.forwards == 1 + 3 * 5)
    assert searched_to_the_end[~broken].all()
    assert searched_to_the_end[broken].any() != early_stop


def test_what_an_example_meets_does_not_depend_on_the_batch_size(trained: nn.Module, digits: Pair) -> None:
    model, x, y = copy.deepcopy(trained).double(), digits[0][:40].double(), digits[1][:40]
    attack = IteratedLocalSearch(lp.Linf(0.05), chains=3, kicks=11, steps=3, first_steps=5)  # 120 rows: the model sees 40 at once
    together = attack.find(model, x, y, generator=streams(x))
    for part in (torch.tensor([39]), torch.tensor([5, 30, 3])):
        alone = attack.find(model, x[part], y[part], generator=ExampleStreams(0, part))
        torch.testing.assert_close(alone.x_adv, together.x_adv[part], rtol=0, atol=1e-12)
        assert torch.equal(alone.gradients, together.gradients[part])


def test_more_kicks_never_come_out_worse(trained: nn.Module, digits: Pair) -> None:
    x, y = digits[0][:40], digits[1][:40]
    margins = []
    for kicks in (0, 4, 12):
        attack = IteratedLocalSearch(lp.Linf(0.05), chains=3, kicks=kicks, steps=3, first_steps=5, early_stop=False)
        margins.append(losses.misclassification_margin(trained(attack(trained, x, y, generator=streams(x))), y))
    assert (margins[1] > margins[0] - 1e-5).all()
    assert (margins[2] > margins[1] - 1e-5).all()


def test_a_kick_replaces_a_rectangle_by_a_corner_of_the_ball() -> None:
    x, best = torch.full((300, 2, 5, 7), 0.5), torch.full((300, 2, 5, 7), 0.6)
    start = IteratedLocalSearch(lp.Linf(0.25)).start(x, best, streams(x))
    kicked = (start != best).any(1)
    assert (start[:, 0][kicked] - 0.5).abs().unique().tolist() == [0.25]
    rows, columns = kicked.any(2), kicked.any(1)
    assert torch.equal(kicked, rows[:, :, None] & columns[:, None, :])
    assert rows.any(1).all()
    assert len({(tuple(r), tuple(c)) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)}) > 100, "the same for many images"
    whole = IteratedLocalSearch(lp.Linf(0.25)).start(x, None, streams(x))
    assert (whole - 0.5).abs().unique().tolist() == [0.25]


def test_between_by_hand() -> None:
    found = between(torch.tensor([[0.0, 0.99], [0.3, 0.3], [0.7, 0.26], [0.99, 0.99]]), 4)
    assert found.int().tolist() == [[1, 1, 1, 1], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


def test_the_better_half_of_the_chains_takes_the_place_of_the_worse() -> None:
    x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 1])
    chains = Chains(x, y, torch.tensor([[9.0, 3.0, 2.0, 1.0], [1.0, 9.0, 2.0, 3.0]]), 3)
    assert chains.target.tolist() == [1, 3, 2, 2, 3, 0]
    rows = torch.arange(6)
    logits = torch.tensor([[5.0, 1, 0, 0], [0, 5, 0, 4], [5, 0, 3, 0], [0, 5, 0, 0], [5, 0, 0, 2], [3, 5, 0, 0]])
    chains.offer(rows, torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 2, 2), logits)
    assert chains.margin.tolist() == [-4, -1, -2, -5, -3, -2]
    chains.offer(rows, torch.full((6, 1, 2, 2), 9.0), torch.tensor([[9.0, 0, 0, 0], [0, 9, 0, 0]] * 3))
    assert chains.margin.tolist() == [-4, -1, -2, -5, -3, -2], "a lower margin replaced a higher one"
    assert torch.equal(chains.nearest()[:, 0, 0, 0], torch.tensor([2.0, 1.0]))
    chains.select()
    assert chains.best[:, 0, 0, 0].tolist() == [2, 1, 4, 5, 2, 1]
    assert chains.margin.tolist() == [-2, -1, -3, -2, -2, -1]
    assert chains.target.tolist() == [2, 3, 3, 0, 2, 3]


@pytest.mark.parametrize("options", [{"chains": 0}, {"kicks": -1}, {"steps": 0}, {"first_steps": 0}])
def test_bad_settings_are_refused(options: dict) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        IteratedLocalSearch(lp.Linf(0.1), **options)
