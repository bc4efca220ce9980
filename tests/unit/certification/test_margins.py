"""Bounds on the margin by each method: exact where the network is linear, below an integer programme's optimum on tiny ReLU networks."""

from __future__ import annotations

import itertools

import pytest
import torch
from bounded_networks import CLASSES, KINDS, exact_margin, images, in_float32, network, tiny
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import PGD
from logitpair.bounds.read_graph import read_graph
from logitpair.certification import margins
from logitpair.certification.margins import ROUNDING, Effort, differences, margin_bounds
from logitpair.losses import misclassification_margin
from logitpair.storage.results import CERTIFICATE_METHODS
from logitpair.threat import L2, Threat

THREAT = lp.Linf(0.1)


def bounds(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, method: str, iterations: int = 10) -> Tensor:
    """``margin_bounds`` as they are, without what rounding is given."""
    with torch.no_grad():
        logits = model(x)
        effort = Effort(iterations, branches=64)
        ((found,), _) = margin_bounds(read_graph(model, x), in_float32(model, x), threat, x, y, logits, (method,), effort)
        return found + ROUNDING * (1 + logits.abs().amax(1))


@pytest.mark.parametrize("seed", range(4))
def test_certified_is_below_exact_is_below_attacked(seed: int) -> None:
    model, x = tiny(seed), images(8, seed, (1, 2, 3))
    y = model(x).argmax(1)
    exact = torch.tensor([exact_margin(model, THREAT.eps, one, int(label)) for one, label in zip(x, y, strict=True)])
    for method in CERTIFICATE_METHODS:
        found = bounds(model, THREAT, x, y, method)
        assert (found <= exact + 1e-6).all(), method
    attack = PGD(THREAT, step_size=0.03, steps=20, restarts=5, loss=misclassification_margin).without_early_stop()
    attacked = -misclassification_margin(model(attack(model, x, y, generator=torch.Generator().manual_seed(0))), y)
    assert (exact <= attacked + 1e-6).all()
    assert (attacked - exact).min() < 1e-6, "the programme has no solution that is reached"


@pytest.mark.parametrize("seed", range(3))
def test_methods_meet_the_exact_margin_where_every_relu_is_decided(seed: int) -> None:
    model, x, threat = tiny(seed), images(6, seed, (1, 2, 3)), lp.Linf(1e-4)
    y = model(x).argmax(1)
    exact = torch.tensor([exact_margin(model, threat.eps, one, int(label)) for one, label in zip(x, y, strict=True)])
    torch.testing.assert_close(bounds(model, threat, x, y, "crown"), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("threat", [THREAT, lp.Linf(0.02), L2(0.2)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_more_expensive_method_is_never_below_a_cheaper_one(kind: str, threat: Threat) -> None:
    model, x = network(kind), images(4)
    y = model(x).argmax(1)
    crown, alpha, beta = (bounds(model, threat, x, y, method, iterations=4) for method in CERTIFICATE_METHODS[2:])
    assert (alpha >= crown - 1e-12).all()
    assert (beta >= alpha - 1e-12).all()


def test_linear_bounds_are_not_everywhere_above_intervals() -> None:
    """Why ``certify`` takes the largest of all methods' bounds: each is above the others somewhere."""
    found = {method: [] for method in ("ibp", "crown-ibp", "crown")}
    for seed in range(6):
        model, x = tiny(seed), images(8, seed, (1, 2, 3))
        y = model(x).argmax(1)
        for eps in (0.1, 1.0):
            for method, values in found.items():
                values.append(bounds(model, lp.Linf(eps), x, y, method))
    ibp, crown_ibp, crown = (torch.cat(values) for values in found.values())
    assert (crown_ibp > ibp + 1e-6).any()
    assert (crown > crown_ibp + 1e-6).any()
    assert (crown_ibp < ibp - 1e-6).any()


@pytest.mark.parametrize("method", CERTIFICATE_METHODS)
def test_the_bound_is_less_than_the_margin_by_what_rounding_is_given(method: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES)).double()
    x = images(5, shape=(1, 2, 3))
    logits = model(x).detach()
    y = logits.argmax(1)
    graphs = read_graph(model, x), in_float32(model, x)
    ((found,), _) = margin_bounds(*graphs, lp.Linf(1e-9), x, y, 100 * logits, (method,), Effort(1, 2))
    expected = -misclassification_margin(logits, y) - 1e-4 * (1 + 100 * logits.abs().amax(1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_methods_are_timed_by_the_clock_that_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, model, x = itertools.count(), network("convolutions"), images(2)
    monkeypatch.setattr(margins.clock, "now", lambda device: float(next(ticks)))
    graphs, logits = (read_graph(model, x), in_float32(model, x)), model(x)
    _, seconds = margin_bounds(*graphs, THREAT, x, logits.argmax(1), logits, CERTIFICATE_METHODS[2:4], Effort(1, 2))
    assert seconds == [1.0, 1.0]


@pytest.mark.parametrize("method", CERTIFICATE_METHODS)
def test_parts_that_fit_into_memory_are_the_whole(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network("convolutions"), images(5)
    y = model(x).argmax(1)
    whole = bounds(model, THREAT, x, y, method, iterations=3)
    monkeypatch.setattr(margins, "BYTES", 100_000)
    torch.testing.assert_close(bounds(model, THREAT, x, y, method, iterations=3), whole, rtol=0, atol=1e-6)


def test_the_differences_are_the_true_class_less_each_other() -> None:
    y = torch.tensor([0, 1, 2])
    logits = torch.tensor([[5.0, 3.0, 1.0], [7.0, 4.0, 6.0], [1.0, 2.0, 9.0]])
    found = (differences(y, 3, logits) @ logits.unsqueeze(2)).squeeze(2)
    assert found.tolist() == [[2, 4], [-3, -2], [8, 7]]
    assert differences(torch.tensor([1]), 2, logits).tolist() == [[[-1, 1]]]
