"""Search in activation space: a network on which the gradient leads away from the one image, cost, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import ActivationSearch, IteratedLocalSearch, activation_search
from logitpair.attacks.activation_search import PROGRAMME, relu_graph
from logitpair.bounds.programme import Programme
from logitpair.rng import ExampleStreams

Pair = tuple[Tensor, Tensor]


def streams(x: Tensor) -> ExampleStreams:
    return ExampleStreams(0, torch.arange(len(x)))


def narrow_basins() -> nn.Module:
    """Sums ``max(3 (s - 1), 6 (0.6 - s), 0)`` over the six pairs of a 3x4 image's pixels, ``s`` being the sum of a pair.

    A pair's best value is 3.6, with both pixels at 0, and from most starts the gradient leads to 3, with both at 1. The second logit, the
    sum, exceeds the first only where all six pairs are at 0.
    """
    pairs = torch.eye(6).repeat_interleave(2, dim=1)
    hidden, logits = nn.Linear(12, 12), nn.Linear(12, 2)
    with torch.no_grad():
        hidden.weight.copy_(torch.cat([3 * pairs, -6 * pairs]))
        hidden.bias.copy_(torch.tensor([-3.0] * 6 + [3.6] * 6))
        logits.weight.copy_(torch.tensor([[0.0] * 12, [1.0] * 12]))
        logits.bias.copy_(torch.tensor([6 * 3.6 - 0.3, 0]))
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), logits)


@pytest.fixture
def gray() -> Pair:
    return torch.full((4, 1, 3, 4), 0.5), torch.zeros(4, dtype=torch.int64)


@pytest.fixture
def network() -> nn.Module:
    """Of the digits' shape, with few ReLUs, so that programmes are quick."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 8), nn.LeakyReLU(0.1), nn.Linear(8, 10)]
        model = nn.Sequential(*layers).double()
        for parameter in model.parameters():
            parameter.data.mul_(2)
        return model


def test_a_programme_finds_what_as_many_ascents_alone_do_not(gray: Pair) -> None:
    x, y = gray
    model, threat = narrow_basins(), lp.Linf(0.5)
    attack = ActivationSearch(threat, turns=1, kicks=2, chains=1, programmes=1, radius=2.0, nodes=10_000)
    found = attack.find(model, x, y, generator=streams(x))
    assert (model(found.x_adv).argmax(1) == 1).all()
    assert threat.contains(found.x_adv, x).all()
    alone = IteratedLocalSearch(threat, chains=1, kicks=1)(model, x, y, generator=streams(x))
    assert (model(alone).argmax(1) == 0).all(), "the local search finds it without a programme"


def test_a_box_that_leaves_too_many_relus_open_is_made_smaller(gray: Pair) -> None:
    x, _ = gray
    model, best = narrow_basins(), gray[0][0] + 0.05
    attack = ActivationSearch(lp.Linf(0.5), free=3)
    graph = relu_graph(model, x)
    programme, radius = attack.around(graph, x[0], best, 0.5)
    larger, _ = ActivationSearch(lp.Linf(0.5), free=12).around(graph, x[0], best, 1.2 * radius)
    assert programme.free <= 3 < larger.free
    assert 0 < radius < 0.5
    assert (programme.lower[:12] >= best.flatten() - radius).all()
    assert (programme.upper[:12] <= torch.tensor(1.0)).all()


def test_no_programme_is_solved_of_relus_that_are_open_in_every_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their inputs are 0 at the best image: those without a bias, on black."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
    x, y = torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64)
    monkeypatch.setattr(Programme, "maximum", lambda *_, **__: pytest.fail("a programme was solved"))
    attack = ActivationSearch(lp.Linf(0.1), free=20)
    at = IteratedLocalSearch(lp.Linf(0.1), chains=1).begin(model, x, y)
    graph = relu_graph(model, x)
    assert graph is not None
    attack.improve(model, graph, x[0], at, 0)
    assert not at.gradients.any()


def test_what_the_local_search_rounded_does_not_stand_against_a_programmes_image(gray: Pair) -> None:
    """As in an audit in bfloat16, where a margin may be recorded that no image has."""
    x, y = gray[0][:1], gray[1][:1]
    model = narrow_basins()
    at = IteratedLocalSearch(lp.Linf(0.5), chains=1).begin(model, x, y)
    at.margin[0] = 0.2999  # the best that there is is 0.3
    graph = relu_graph(model, x)
    assert graph is not None
    ActivationSearch(lp.Linf(0.5), programmes=1, radius=0.2).improve(model, graph, x[0], at, 0)
    assert at.margin[0] == lp.losses.misclassification_margin(model(at.best), y) < 0
    assert not torch.equal(at.best, x)


def test_a_box_that_is_the_whole_ball_is_not_tried_again(network: nn.Module) -> None:
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = network(x).argmax(1)
    attack = ActivationSearch(lp.Linf(1e-6), turns=1, kicks=1, chains=1, radius=1.0)
    assert int(attack.find(network, x, y, generator=streams(x)).gradients) == 100 + 3 * PROGRAMME  # boxes of 1, 1.5 and 2 eps


@pytest.mark.parametrize("early_stop", [True, False])
def test_what_is_counted_is_what_went_through_the_model_and_2000_gradients_a_programme(
    network: nn.Module, early_stop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = network(x).argmax(1)
    seen, programmes, solved = {True: 0, False: 0}, [], Programme.maximum

    def count(_: nn.Module, given: tuple[Tensor]) -> None:
        seen[given[0].requires_grad] += len(given[0])

    def solve(programme: Programme, *given: Any, **options: Any) -> Tensor | None:
        programmes.append(programme)
        return solved(programme, *given, **options)

    monkeypatch.setattr(Programme, "maximum", solve)
    network.register_forward_pre_hook(count)
    monkeypatch.setattr(activation_search, "relu_graph", lambda *_: relu_graph(copy_without_hooks(network), x))
    found = ActivationSearch(lp.Linf(0.03), turns=2, kicks=2, chains=2, programmes=2, early_stop=early_stop).find(
        network, x, y, generator=streams(x)
    )
    assert programmes
    assert int(found.gradients.sum()) == seen[True] + PROGRAMME * len(programmes)
    assert int(found.forwards.sum()) == seen[False]
    broken = network(found.x_adv).argmax(1) != y
    assert 0 < broken.sum() < 6
    to_the_end = 2 * (100 + 3 * 25) + 2 * PROGRAMME  # two chains, two turns of two ascents, and a programme in each turn at least
    assert (found.gradients >= to_the_end)[~broken].all()
    assert (found.gradients >= to_the_end)[broken].all() != early_stop


def copy_without_hooks(network: nn.Module) -> nn.Module:
    found = copy.deepcopy(network)
    found._forward_pre_hooks.clear()
    return found


def test_what_an_example_meets_does_not_depend_on_the_batch(network: nn.Module) -> None:
    x = torch.rand(5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = network(x).argmax(1)
    attack = ActivationSearch(lp.Linf(0.03), turns=1, kicks=3, chains=2, programmes=3)
    together = attack.find(network, x, y, generator=streams(x))
    for part in (torch.tensor([4]), torch.tensor([2, 0])):
        alone = attack.find(network, x[part], y[part], generator=ExampleStreams(0, part))
        torch.testing.assert_close(alone.x_adv, together.x_adv[part], rtol=0, atol=1e-9)
        assert torch.equal(alone.gradients, together.gradients[part])


def test_programmes_never_make_it_worse(network: nn.Module) -> None:
    x = torch.rand(5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = network(x).argmax(1)
    options = {"chains": 2, "early_stop": False}
    local = IteratedLocalSearch(lp.Linf(0.02), kicks=2, **options)(network, x, y, generator=streams(x))
    both = ActivationSearch(lp.Linf(0.02), turns=1, kicks=3, programmes=4, **options)(network, x, y, generator=streams(x))
    margins = [lp.losses.misclassification_margin(network(x_adv), y) for x_adv in (local, both)]
    assert (margins[1] >= margins[0]).all()
    assert (margins[1] > margins[0] + 1e-6).any()


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 10)),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Sigmoid(), nn.Linear(8, 10)),
    ],
)
def test_on_networks_that_programmes_are_not_made_of_the_local_search_is_alone(model: nn.Module) -> None:
    x, options = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), {"chains": 1, "early_stop": False}
    with torch.no_grad():
        assert relu_graph(model, x) is None
        y = model(x).argmax(1)
    found = ActivationSearch(lp.Linf(0.001), turns=1, kicks=2, **options).find(model, x, y, generator=streams(x))
    alone = IteratedLocalSearch(lp.Linf(0.001), kicks=1, **options).find(model, x, y, generator=streams(x))
    assert torch.equal(found.x_adv, alone.x_adv)
    assert torch.equal(found.gradients, alone.gradients)


def test_programmes_of_a_large_network_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)), torch.rand(1, 1, 8, 8)
    values = 64 + 64 + 8 + 8 + 10
    monkeypatch.setattr(activation_search, "NUMBERS", 64 * values)
    assert relu_graph(model, x) is not None
    monkeypatch.setattr(activation_search, "NUMBERS", 64 * values - 1)
    assert relu_graph(model, x) is None


@pytest.mark.parametrize(
    "options",
    [{"turns": 0}, {"kicks": 0}, {"chains": 0}, {"programmes": 0}, {"free": 0}, {"nodes": 0}, {"nodes": 2**31}, {"radius": 0.0}],
)
def test_bad_settings_are_refused(options: dict) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        ActivationSearch(lp.Linf(0.1), **options)


def test_another_norm_is_refused() -> None:
    with pytest.raises(InputError, match="accepted: Linf, not L2"):
        ActivationSearch(lp.L2(0.5))
