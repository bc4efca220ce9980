"""Networks masked on purpose, beyond those of ``audited``: the defenses that papers proposed and others broke, small enough for the digits.

Each is made from a network that is trained here in seconds. Sources: k-winners arXiv 1905.10510, distillation 1511.04508, diverse ensembles
1901.08846, thermometers (Buckman et al., ICLR 2018), JPEG 1608.00853, detection by squeezing 1704.01155, steps at inference 2103.14347.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import cos, pi, sqrt

import torch
import torch.nn.functional as F
from audited import MASKS, Masked
from torch import Tensor, nn

import logitpair as lp

Loss = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
LEVELS = 16  # of a thermometer
TEMPERATURE = 50.0  # of the distillation
QUALITY = 0.1  # step of JPEG's coefficients


@cache
def digits() -> tuple[Tensor, Tensor]:
    """The digits' training images in [0, 1], and their labels."""
    train = lp.data.Digits().train()
    return train.images.float() / 255, train.labels


def fit(model: Callable[[], nn.Module], loss: Loss, *, steps: int, seed: int, data: tuple[Tensor, Tensor] | None = None) -> nn.Module:
    """A network trained on the digits, or on ``data``, in eval mode; the global generator is left as it was."""
    x, y = data or digits()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, generator = model(), torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        for _ in range(steps):
            rows = torch.randint(len(x), (64,), generator=generator)
            optimizer.zero_grad()
            loss(network, x[rows], y[rows], generator).backward()
            optimizer.step()
    network.zero_grad(set_to_none=True)
    return network.eval()


def of(objective: lp.objectives.Objective) -> Loss:
    """The total of an objective."""
    return lambda model, x, y, generator: objective(model, x, y, generator=generator).total


def small() -> nn.Module:
    return lp.models.SmallConvNet(width=8)


@cache
def plain(seed: int) -> nn.Module:
    """What the masks are put on."""
    return fit(small, of(lp.objectives.StandardTraining()), steps=150, seed=seed)


class KWinners(lp.models.SmallConvNet):
    """Of each layer the tenth of the units that is largest, and zero for the others, in place of a ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.winners(self.conv2(self.winners(self.conv1(x))))
        return self.logits(self.winners(self.hidden(x.flatten(1))))

    @staticmethod
    def winners(x: Tensor) -> Tensor:
        least = x.flatten(1).topk(max(1, x[0].numel() // 10), dim=1).values[:, -1]
        return x * (x >= least.view(-1, *[1] * (x.ndim - 1)))


class Thermometer(nn.Module):
    """Every pixel as the levels that it is above, which no gradient passes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = lp.models.SmallConvNet(channels=LEVELS, width=8)

    def forward(self, x: Tensor) -> Tensor:
        levels = torch.arange(LEVELS, device=x.device).view(1, -1, 1, 1) / LEVELS
        return self.network((x > levels).float())


class Ensemble(nn.Module):
    """The logarithm of the mean of what three networks hold likely."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(lp.models.SmallConvNet(width=4) for _ in range(3))

    def probabilities(self, x: Tensor) -> Tensor:
        """``[members, batch, classes]``."""
        return torch.stack([member(x).softmax(1) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        return self.probabilities(x).mean(0).clamp_min(1e-12).log()


def diverse(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Cross-entropy of each member, less the entropy of the mean and the volume that the members' other classes span."""
    assert isinstance(model, Ensemble)
    p = model.probabilities(x)
    others = F.normalize(p.masked_fill(F.one_hot(y, p.shape[2]).bool(), 0), dim=2).transpose(0, 1)
    volume = torch.logdet(others @ others.mT + 1e-4 * torch.eye(len(p)))
    entropy = -(p.mean(0) * p.mean(0).clamp_min(1e-12).log()).sum(1)
    return sum(F.nll_loss(member.clamp_min(1e-12).log(), y) for member in p) - (0.5 * entropy + 0.05 * volume).mean()


def distilled(seed: int) -> nn.Module:
    """A student of a teacher's probabilities at a high temperature, asked without it: its logits are far apart."""
    teacher = fit(small, lambda model, x, y, _: F.cross_entropy(model(x) / TEMPERATURE, y), steps=300, seed=seed)

    def imitate(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            likely = (teacher(x) / TEMPERATURE).softmax(1)
        return F.cross_entropy(model(x) / TEMPERATURE, likely)

    return fit(small, imitate, steps=300, seed=seed + 1)


def jpeg(x: Tensor) -> Tensor:
    """Rounded coefficients of the cosine transform of the whole image, which at 8x8 is one block of JPEG's."""
    size = x.shape[2]
    rows = [[sqrt((1 + (k > 0)) / size) * cos(pi * (2 * i + 1) * k / 2 / size) for i in range(size)] for k in range(size)]
    transform = torch.tensor(rows, dtype=x.dtype, device=x.device)
    coefficients = (transform @ x @ transform.T / QUALITY).round() * QUALITY
    return (transform.T @ coefficients @ transform).clamp(0, 1)


def unseen(bits: int) -> Callable[[nn.Module, Tensor], Tensor]:
    """Rounding of the input by a cast, which no backward pass shows."""
    top = 2**bits - 1
    return lambda network, x: network((top * x + 0.5).int().float() / top)


def detector(network: nn.Module, x: Tensor) -> Tensor:
    """A class more, for images that the network sees otherwise when they are rounded to three bits."""
    logits = network(x)
    differ = (logits.softmax(1) - network((7 * x).round() / 7).softmax(1)).abs().sum(1, keepdim=True)
    return torch.cat([logits, torch.where(differ > 0.5, 100.0, -100.0)], 1)


def purified(network: nn.Module, x: Tensor) -> Tensor:
    """The image after two steps towards what the network already thinks of it, which the gradient does not see."""
    moved = x.detach()
    with torch.enable_grad():
        for _ in range(2):
            moved = moved.requires_grad_()
            logits = network(moved)
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, logits.argmax(1), reduction="sum"), moved)
            moved = (moved - 0.1 * gradient.sign()).clamp(0, 1).detach()
    return network(x + (moved - x).detach())


FUNCTIONS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {  # what is put around a network
    **{name: mask for name, (mask, _) in MASKS.items()},
    "4-bit input, unseen": unseen(4),
    "8-bit input, unseen": unseen(8),
    "JPEG": lambda network, x: network(jpeg(x)),
    "JPEG, unseen": lambda network, x: network(jpeg(x.detach())),
    "dropout": lambda network, x: network(F.dropout(x, 0.2, training=True)),
    "detector": detector,
    "purification": purified,
    "argmax x 10": lambda network, x: 10 * F.one_hot(network(x).argmax(1), 10).float(),
}
TRAINED: dict[str, Callable[[int], nn.Module]] = {  # what is trained with its mask
    "k-winners": lambda seed: fit(lambda: KWinners(width=8), of(lp.objectives.StandardTraining()), steps=200, seed=seed),
    "thermometer": lambda seed: fit(Thermometer, of(lp.objectives.StandardTraining()), steps=150, seed=seed),
    "defensive distillation": distilled,
    "diverse ensemble": lambda seed: fit(Ensemble, diverse, steps=150, seed=seed),
}


@cache
def masked(name: str, seed: int) -> nn.Module:
    """The masked network of this name."""
    return TRAINED[name](seed) if name in TRAINED else Masked(plain(seed), FUNCTIONS[name])
