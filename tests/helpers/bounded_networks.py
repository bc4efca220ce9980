"""Small networks of every kind of operation that bounds are known of; what the tests of bounds and certificates share."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import logitpair as lp
from logitpair.bounds.operations import Interval

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


def images(number: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Random images, among whose pixels are some of 0 and of 1."""
    source = torch.Generator().manual_seed(1000 + seed)
    return (1.4 * torch.rand(number, *shape, generator=source, dtype=torch.float64) - 0.2).clamp(0, 1)


def inside(interval: Interval, number: int, seed: int = 0) -> Tensor:
    """Points of a set given by intervals, ``[number, batch, ...]``: half of them corners."""
    lower, upper = interval
    source = torch.Generator().manual_seed(seed)
    share = torch.rand(number, *lower.shape, generator=source, dtype=lower.dtype)
    share[::2] = share[::2].round()
    return lower + share * (upper - lower)


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
