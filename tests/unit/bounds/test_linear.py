"""Bounds by linear functions: sound on networks of every kind, exact where the network is linear, the same in any batch."""

from __future__ import annotations

import pytest
import torch
from bounded_networks import CLASSES, KINDS, images, network, worst_found
from torch import Tensor, nn

import logitpair as lp
from logitpair.bounds import linear
from logitpair.bounds.ball import Ball
from logitpair.bounds.graph import Graph
from logitpair.bounds.interval import intervals
from logitpair.bounds.linear import lower_bounds, tightened
from logitpair.bounds.operations import LeakyReLU
from logitpair.bounds.read_graph import read_graph
from logitpair.threat import L2, Threat

THREATS = {"small": lp.Linf(0.02), "large": lp.Linf(0.2), "euclidean": L2(0.3)}
kinds = pytest.mark.parametrize("kind", KINDS)
threats = pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)


def random_rows(batch: int, *value: int, n: int = 4) -> Tensor:
    return torch.randn(batch, n, *value, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def bounds(graph: Graph, rows: Tensor, ball: Ball, method: str) -> Tensor:
    inside = tightened(graph, ball) if method == "crown" else intervals(graph, ball.box)
    return lower_bounds(graph, rows, inside, ball, affine_only=method == "ibp")


@threats
@kinds
@pytest.mark.parametrize("seed", range(2))
def test_no_image_in_the_ball_is_below_the_bounds(kind: str, threat: Threat, seed: int) -> None:
    model, x = network(kind, seed), images(4, seed)
    graph, rows, ball = read_graph(model, x), random_rows(4, CLASSES), Ball(threat, x)
    least = worst_found(model, rows, threat, x)
    for method in ("ibp", "crown-ibp", "crown"):
        assert (bounds(graph, rows, ball, method) <= least + 1e-9).all(), method


@kinds
def test_slopes_of_any_choice_are_sound(kind: str) -> None:
    model, x, threat = network(kind), images(3), THREATS["large"]
    graph, rows, ball = read_graph(model, x), random_rows(3, CLASSES), Ball(threat, x)
    inside = tightened(graph, ball)
    least = worst_found(model, rows, threat, x)
    for seed in range(5):
        source = torch.Generator().manual_seed(seed)
        slopes = {
            number: torch.rand(3, 4, *graph.shapes[number], generator=source, dtype=torch.float64).round(decimals=seed % 2)
            for number, step in enumerate(graph.steps, 1)
            if isinstance(step.operation, LeakyReLU)
        }
        assert (lower_bounds(graph, rows, inside, ball, slopes=slopes) <= least + 1e-9).all()


@threats
@kinds
def test_tightened_intervals_lie_within_the_others_and_hold_every_value(kind: str, threat: Threat) -> None:
    model, x = network(kind), images(3)
    graph, ball = read_graph(model, x), Ball(threat, x)
    loose, tight = intervals(graph, ball.box), tightened(graph, ball)
    for wide, narrow in zip(loose, tight, strict=True):
        assert (wide.lower <= narrow.lower + 1e-9).all()
        assert (narrow.upper <= wide.upper + 1e-9).all()
    many = x.repeat(50, 1, 1, 1)
    points = threat.random_start(many, torch.Generator().manual_seed(0))
    for z in (points, threat.project(many + 2 * threat.eps * threat.ascent(points - many), many)):
        for step, value in zip(tight, intervals(graph, Ball(lp.Linf(0.0), z).box), strict=True):
            values = value.lower.unflatten(0, (50, 3))
            assert (step.lower - 1e-9 <= values).all()
            assert (values <= step.upper + 1e-9).all()
    if kind == "deep":
        assert tight[4].width.sum() < 0.99 * loose[4].width.sum(), "nothing became tighter"


@pytest.mark.parametrize("kind", ["linear", "convolution"])
@pytest.mark.parametrize("eps", [0.1, 0.5, 1.0])
def test_a_linear_network_is_exact_over_the_box(kind: str, eps: float) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3, stride=2), nn.BatchNorm2d(3)] if kind == "convolution" else [nn.AvgPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(12 if kind == "convolution" else 18, CLASSES)).double().eval()
    x, threat = images(5), lp.Linf(eps)
    graph, rows, ball = read_graph(model, x), random_rows(5, CLASSES), Ball(threat, x)
    (jacobian,) = (torch.autograd.functional.jacobian(lambda one: model(one[None])[0], x[0]),)
    weights = torch.einsum("bnk,kchw->bnchw", rows, jacobian)
    away = torch.where(weights > 0, (x - eps).clamp(min=0)[:, None], (x + eps).clamp(max=1)[:, None])
    exact = torch.einsum("bnk,bk->bn", rows, model(x)) + (weights * (away - x[:, None])).sum((2, 3, 4))
    for method in ("ibp", "crown-ibp", "crown"):
        torch.testing.assert_close(bounds(graph, rows, ball, method), exact)


def test_a_linear_network_is_exact_in_the_euclidean_ball_away_from_the_walls() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES)).double()
    x, threat = 0.4 + 0.2 * images(5), L2(0.3)
    rows = random_rows(5, CLASSES)
    reach = 0.3 * (rows @ model[1].weight).norm(dim=2)
    exact = torch.einsum("bnk,bk->bn", rows, model(x)) - reach
    for method in ("ibp", "crown-ibp", "crown"):
        torch.testing.assert_close(bounds(read_graph(model, x), rows, Ball(threat, x), method), exact)
    assert (bounds(read_graph(model, x), rows, Ball(lp.Linf(0.3), x), "ibp") < exact).all()


@pytest.mark.parametrize("eps", [0.1, 0.001])  # so large that ReLUs are off somewhere, so small that many are on everywhere
def test_the_last_layer_is_merged_with_the_rows(eps: float) -> None:
    """Of ``w h`` and ``v h``, with ``h`` in an interval, the difference is that of ``(w - v) h``, not that of the intervals."""
    model, x = network("deep"), images(4)
    graph, ball = read_graph(model, x), Ball(lp.Linf(eps), x)
    inside = intervals(graph, ball.box)
    merged = model[-1].weight[0] - model[-1].weight[1]
    lower, upper = inside[-2]
    exact = torch.where(merged > 0, lower, upper) @ merged + model[-1].bias[0] - model[-1].bias[1]
    rows = torch.tensor([[[1.0, -1.0, 0.0]]], dtype=torch.float64).expand(4, 1, 3)
    found = lower_bounds(graph, rows, inside, ball, affine_only=True)
    torch.testing.assert_close(found[:, 0], exact)
    assert (found[:, 0] > (inside[-1].lower[:, 0] - inside[-1].upper[:, 1]) + eps / 100).all()


@kinds
def test_a_network_stable_in_the_ball_is_exact(kind: str) -> None:
    """So near that no ReLU and no maximum changes its mind, the network is linear."""
    model, x, threat = network(kind), images(3), lp.Linf(1e-7)
    graph, rows, ball = read_graph(model, x), random_rows(3, CLASSES), Ball(threat, x)
    x.requires_grad_()
    value = torch.einsum("bnc,bc->bn", rows, model(x))
    gradients = torch.stack([torch.autograd.grad(value[:, i].sum(), x, retain_graph=True)[0] for i in range(4)], 1)
    lower, upper = (end.unsqueeze(1) for end in ball.box)
    exact = value + (torch.where(gradients > 0, lower - x.unsqueeze(1), upper - x.unsqueeze(1)) * gradients).sum((2, 3, 4))
    torch.testing.assert_close(bounds(graph, rows, ball, "crown-ibp"), exact, rtol=0, atol=1e-10)


@threats
@kinds
def test_bounds_of_one_image_do_not_depend_on_the_others(kind: str, threat: Threat) -> None:
    model, x = network(kind), images(6)
    graph, rows = read_graph(model, x), random_rows(6, CLASSES)
    for method in ("ibp", "crown-ibp", "crown"):
        together = bounds(graph, rows, Ball(threat, x), method)
        alone = torch.cat([bounds(graph, rows[i : i + 1], Ball(threat, x[i : i + 1]), method) for i in range(6)])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-10, msg=method)


def test_rows_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, ball = read_graph(network("max_pools"), images(1)), Ball(lp.Linf(0.1), images(3))
    whole = tightened(graph, ball)
    monkeypatch.setattr(linear, "ROWS_BYTES", 10_000)
    for one, other in zip(whole, tightened(graph, ball), strict=True):
        torch.testing.assert_close(one.lower, other.lower)
        torch.testing.assert_close(one.upper, other.upper)


@kinds
def test_a_layer_is_left_where_a_few_neurons_show_no_gain(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Image by image: neither is a bound of what is left undone, nor does it depend on the other images."""
    graph, x, threat = read_graph(network(kind), images(1)), images(6), THREATS["large"]
    loose, tight = intervals(graph, Ball(threat, x).box), tightened(graph, Ball(threat, x))
    monkeypatch.setattr(linear, "PROBES", 2)
    probed = tightened(graph, Ball(threat, x))
    alone = [tightened(graph, Ball(threat, one)) for one in x.split(1)]
    monkeypatch.setattr(linear, "WORTH", 0.999)
    left = tightened(graph, Ball(threat, x))
    for number, (wide, few, some) in enumerate(zip(loose, left, probed, strict=True)):
        assert (wide.lower <= torch.minimum(few.lower, some.lower) + 1e-9).all()
        assert (wide.upper >= torch.maximum(few.upper, some.upper) - 1e-9).all()
        torch.testing.assert_close(some.lower, torch.cat([one[number].lower for one in alone]), rtol=0, atol=1e-9)
        torch.testing.assert_close(some.upper, torch.cat([one[number].upper for one in alone]), rtol=0, atol=1e-9)
    if kind == "deep":
        assert (left[4].width < loose[4].width - 1e-9).sum(1).max() <= 2, "two neurons were tried"
        assert left[4].width.sum() > tight[4].width.sum()


@kinds
def test_a_step_within_the_network_can_be_bounded(kind: str) -> None:
    graph, x = read_graph(network(kind), images(1)), images(3)
    threat = THREATS["large"]
    inside = intervals(graph, Ball(threat, x).box)
    for at in graph.nonlinear_inputs:
        rows = random_rows(3, *graph.shapes[at])
        found = lower_bounds(graph, rows, inside, Ball(threat, x), at=at)
        least = worst_found(lambda z, at=at: intervals(graph, Ball(lp.Linf(0.0), z).box, last=at)[at].lower, rows, threat, x, steps=4)
        assert (found <= least + 1e-9).all()
