"""Bounds on the margin by each method: exact where the network is linear, below an integer programme's optimum on tiny ReLU networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bounded_networks import CLASSES, KINDS, images, network
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import PGD
from logitpair.bounds.read_graph import read_graph
from logitpair.certification import margins
from logitpair.certification.margins import ROUNDING, differences, margin_bounds
from logitpair.losses import misclassification_margin
from logitpair.storage.results import CERTIFICATE_METHODS
from logitpair.threat import L2, Threat

THREAT = lp.Linf(0.1)


def tiny(seed: int, inputs: int = 6, hidden: int = 5) -> nn.Module:
    """Two hidden layers of ReLUs behind a handful of pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES)]
        model = nn.Sequential(*layers).double().eval()
        for parameter in model.parameters():
            parameter.data.mul_(2)
    return model


def bounds(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, method: str, iterations: int = 10) -> Tensor:
    """``margin_bounds`` as they are, without what rounding is given."""
    with torch.no_grad():
        logits = model(x)
        found = margin_bounds(read_graph(model, x), threat, x, y, logits, method, iterations)
        return found + ROUNDING * (1 + logits.abs().amax(1))


def exact_margin(model: nn.Module, eps: float, x: Tensor, y: int) -> float:
    """The smallest margin over the ball and the box, by mixed-integer programmes whose binaries say which ReLUs are on.

    The variables are the image, then for each hidden layer what goes into its ReLUs, what comes out, and the binaries.
    """
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in model if isinstance(m, nn.Linear)]
    image = x.flatten().numpy()
    lower, upper = np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1)
    least, most, integer = [lower], [upper], [np.zeros_like(image)]
    equations: list[tuple[int, int, np.ndarray, np.ndarray]] = []  # input, pre-activation, weights, bias
    start, width, at = 0, len(image), len(image)
    relus: list[tuple[int, np.ndarray, np.ndarray]] = []
    for weight, bias in layers[:-1]:
        center, radius = (lower + upper) / 2, (upper - lower) / 2
        middle, reach = weight @ center + bias, np.abs(weight) @ radius
        low, high, n = middle - reach, middle + reach, len(bias)
        least += [low, np.zeros(n), np.zeros(n)]
        most += [high, np.maximum(high, 0), np.ones(n)]
        integer += [np.zeros(2 * n), np.ones(n)]
        equations.append((start, at, weight, bias))
        relus.append((at, low, high))
        start, width, at, lower, upper = at + n, n, at + 3 * n, np.maximum(low, 0), np.maximum(high, 0)
    constraints = []
    for source, target, weight, bias in equations:  # target = weight source + bias
        rows = np.zeros((len(bias), at))
        rows[:, source : source + weight.shape[1]] = -weight
        rows[:, target : target + len(bias)] = np.eye(len(bias))
        constraints.append(LinearConstraint(rows, bias, bias))
    for z, low, high in relus:  # a >= z; a <= z - low (1 - on); a <= high on
        for i in range(len(low)):
            for coefficients, limit in (((1, -1, 0), 0.0), ((-1, 1, -low[i]), -low[i]), ((0, 1, -max(high[i], 0)), 0.0)):
                row = np.zeros(at)
                row[[z + i, z + len(low) + i, z + 2 * len(low) + i]] = coefficients
                constraints.append(LinearConstraint(row, -np.inf, limit))
    weight, bias = layers[-1]
    smallest = np.inf
    for k in set(range(CLASSES)) - {y}:
        cost = np.zeros(at)
        cost[start : start + width] = weight[y] - weight[k]
        limits = Bounds(np.concatenate(least), np.concatenate(most))
        found = milp(cost, constraints=constraints, bounds=limits, integrality=np.concatenate(integer))
        assert found.success
        smallest = min(smallest, found.fun + bias[y] - bias[k])
    return smallest


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
def test_optimised_slopes_are_never_below_crown(kind: str, threat: Threat) -> None:
    model, x = network(kind), images(4)
    y = model(x).argmax(1)
    crown, alpha = (bounds(model, threat, x, y, method, iterations=4) for method in ("crown", "alpha-crown"))
    assert (alpha >= crown - 1e-12).all()


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
    found = margin_bounds(read_graph(model, x), lp.Linf(1e-9), x, y, 100 * logits, method, 1)
    expected = -misclassification_margin(logits, y) - 1e-4 * (1 + 100 * logits.abs().amax(1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", CERTIFICATE_METHODS)
def test_parts_that_fit_into_memory_are_the_whole(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network("convolutions"), images(5)
    y = model(x).argmax(1)
    whole = bounds(model, THREAT, x, y, method, iterations=3)
    monkeypatch.setattr(margins, "BYTES", 100_000)
    torch.testing.assert_close(bounds(model, THREAT, x, y, method, iterations=3), whole, rtol=0, atol=1e-9)


def test_the_differences_are_the_true_class_less_each_other() -> None:
    y = torch.tensor([0, 1, 2])
    logits = torch.tensor([[5.0, 3.0, 1.0], [7.0, 4.0, 6.0], [1.0, 2.0, 9.0]])
    found = (differences(y, 3, logits) @ logits.unsqueeze(2)).squeeze(2)
    assert found.tolist() == [[2, 4], [-3, -2], [8, 7]]
    assert differences(torch.tensor([1]), 2, logits).tolist() == [[[-1, 1]]]
