"""Small networks of every kind of operation that bounds are known of; what the tests of bounds and certificates share."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn

import logitpair as lp
from logitpair.bounds.ball import Ball
from logitpair.bounds.graph import Graph
from logitpair.bounds.linear import lower_bounds, tightened
from logitpair.bounds.operations import Interval
from logitpair.bounds.read_graph import read_graph
from logitpair.bounds.subproblems import Relaxation, Subproblems

SHAPE = (2, 6, 6)
CLASSES = 3


class Residual(nn.Module):
    """Two blocks with ReLUs in place, as ResNets have them, the second with a projection; global average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm, self.relu = nn.BatchNorm2d(3), nn.ReLU(inplace=True)
        self.narrow, self.skip, self.logits = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(3, 4, 1, stride=2), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = x + self.norm(self.inner(x))
        x = self.relu(x)  # what is added below is its output, though the name of its input is used nowhere else
        y = self.narrow(x)
        y += self.skip(x)
        return self.logits(F.relu(y).mean((2, 3)))


class Joined(nn.Module):
    """Functions and methods in the place of modules: a join, paddings, poolings, arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.logits = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3, dilation=2, padding=1), nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.pad(2 * x - 0.5, (1, 1, 1, 1)), 3, stride=1)
        both = torch.cat([self.left(x).relu(), F.leaky_relu(self.right(x), 0.2)], 1)
        both = 1 - F.max_pool2d(-both / 2, 2, 1, padding=1)
        return self.logits(F.adaptive_avg_pool2d(both, 4).view(x.size(0), -1))


class Shared(nn.Module):
    """ReLUs of the image, of the image's pixels scaled, and two of the same step, which is added to what follows besides."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mixed, self.logits = nn.Linear(72, 5), nn.Linear(5, 5), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        z = self.hidden(F.relu(2 * F.leaky_relu(x, 0.3) - 0.8).flatten(1))
        return self.logits(F.relu(self.mixed(F.relu(z) - F.leaky_relu(z, 0.2)) + z))


class Repeated(nn.Module):
    """The image joined with itself, its channels clipped at levels of their own, and constants that are broadcast over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("levels", torch.linspace(0.23, 0.77, 6)[:, None, None])
        self.mixed, self.hidden, self.logits = nn.Conv2d(6, 1, 1), nn.Conv2d(6, 4, 3, stride=2), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        clipped = 1 - F.relu(1 - F.relu(4 * (torch.cat([x, x, x], 1) - self.levels)))
        return self.logits(F.relu(self.hidden(F.relu(self.mixed(clipped) - self.levels))).flatten(1))


def convolutions() -> nn.Module:
    layers = [
        *(nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 2, 3, padding="same", bias=False), nn.LeakyReLU(0.1)),
        *(nn.Flatten(), nn.Dropout(), nn.Linear(18, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, CLASSES)),
    ]
    return lp.models.Normalized(nn.Sequential(*layers), mean=(0.4, 0.6), std=(0.5, 0.25))


def max_pools() -> nn.Module:
    layers = [
        *(nn.ZeroPad2d(1), nn.Conv2d(2, 3, 3), nn.MaxPool2d(3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(3, 4, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, CLASSES)),
    ]
    return nn.Sequential(*layers)


def fully_connected() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, CLASSES))


def deep() -> nn.Module:
    """So deep that bounds differ in which ReLUs they leave undecided."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 8), nn.ReLU(), *[layer for _ in range(3) for layer in (nn.Linear(8, 8), nn.ReLU())])
    for parameter in model.parameters():
        parameter.data.mul_(2.5)
    return model.append(nn.Linear(8, CLASSES))


KINDS: dict[str, Callable[[], nn.Module]] = {
    "fully_connected": fully_connected,
    "deep": deep,
    "convolutions": convolutions,
    "max_pools": max_pools,
    "residual": Residual,
    "joined": Joined,
    "shared": Shared,
    "repeated": Repeated,
}


def network(kind: str, seed: int = 0) -> nn.Module:
    """A float64 network in eval mode whose BatchNorms have seen something, and in which some factors are below 0."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = KINDS[kind]()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor in (module.weight.data, module.bias.data, module.running_mean):
                    tensor.normal_()
                module.running_var.uniform_(0.5, 2)
    return model.double().eval()


def tiny(seed: int, inputs: int = 6, hidden: int = 5) -> nn.Module:
    """Two hidden layers of ReLUs behind a handful of pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES)]
        model = nn.Sequential(*layers).double().eval()
        for parameter in model.parameters():
            parameter.data.mul_(2)
    return model


def images(number: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Random images, among whose pixels are some of 0 and of 1."""
    source = torch.Generator().manual_seed(1000 + seed)
    return (1.4 * torch.rand(number, *shape, generator=source, dtype=torch.float64) - 0.2).clamp(0, 1)


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


def in_float32(model: nn.Module, x: Tensor) -> Graph:
    """The graph of the same network in float32."""
    return read_graph(copy.deepcopy(model).float(), x[:1].float())


def relaxations(model: nn.Module, x: Tensor, threat: lp.threat.Threat) -> tuple[Relaxation, Relaxation]:
    """In float64, by the tightest intervals, and in float32."""
    graph, ball = read_graph(model, x), Ball(threat, x)
    inside = tightened(graph, ball)
    exact = Relaxation(graph, ball, {step: inside[step] for step in graph.nonlinear_inputs})
    return exact, exact.of(in_float32(model, x))


def subproblems(exact: Relaxation, rows: Tensor) -> Subproblems:
    """One for each image's whole ball and each of the functions ``[batch or 1, n, classes]``."""
    rows = rows.expand(len(exact.ball.x), -1, -1)
    bound = lower_bounds(exact.graph, rows, exact.inside, exact.ball)
    return Subproblems.whole(exact, rows, bound, torch.arange(bound.numel()))


def inside(interval: Interval, number: int, seed: int = 0) -> Tensor:
    """Points of a set given by intervals, ``[number, batch, ...]``: half of them corners."""
    lower, upper = interval
    source = torch.Generator().manual_seed(seed)
    share = torch.rand(number, *lower.shape, generator=source, dtype=lower.dtype)
    share[::2] = share[::2].round()
    return lower + share * (upper - lower)


@torch.enable_grad()
def worst_found(function: Callable[[Tensor], Tensor], rows: Tensor, threat: lp.threat.Threat, x: Tensor, *, steps: int = 8) -> Tensor:
    """The least values ``[batch, n]`` of the linear functions ``rows`` of what ``function`` gives, that descent found in the ball.

    Each of them is descended by gradients from a random point and from the image, with large steps and then with small ones.
    """
    batch, n = rows.shape[:2]
    own, around = rows.flatten(0, 1), x.repeat_interleave(n, 0)
    found = []
    for point in (around, threat.random_start(around, torch.Generator().manual_seed(5))):
        for step in range(steps + 1):
            point = point.detach().requires_grad_()
            value = (own * function(point)).flatten(1).sum(1)
            found.append(value.detach())
            (gradient,) = torch.autograd.grad(value.sum(), point)
            length = threat.eps * (1 if step < steps / 2 else 0.2)
            point = threat.project(point.detach() - length * threat.ascent(gradient), around)
    return torch.stack(found).amin(0).view(batch, n)
