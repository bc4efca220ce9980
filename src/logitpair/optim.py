"""Learning-rate schedules, which keep no state so that resuming needs none, an optimizer, and the moving average of a network."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from logitpair.errors import InputError
from logitpair.runtime.lazy_imports import import_timm
from logitpair.validate import at_least, fraction, positive


class Schedule(ABC):
    """What the optimizer's learning rate is multiplied by."""

    @abstractmethod
    def factor(self, epoch: float, epochs: float) -> float:
        """The factor ``epoch`` (a fraction counts) epochs into a training of ``epochs``."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate as given."""

    def factor(self, epoch: float, epochs: float) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Linear warm-up over ``warmup`` epochs, times half a cosine from 1 to 0 over all of training (arXiv 1608.03983, no restarts).

    The warm-up begins at a hundredth: a first step at a rate of 0 would waste its batch.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        at_least("schedule.warmup", self.warmup, 0)

    def factor(self, epoch: float, epochs: float) -> float:
        warm = max(0.01, min(1.0, epoch / self.warmup)) if self.warmup else 1.0
        return warm * (1 + math.cos(math.pi * min(1.0, epoch / epochs))) / 2


@dataclass(frozen=True, kw_only=True)
class Steps(Schedule):
    """Multiply by ``gamma``, above 0, at each of the ``milestones``, which are epochs in rising order."""

    milestones: tuple[float, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        positive("schedule.gamma", self.gamma)
        for milestone in self.milestones:
            at_least("schedule.milestones", milestone, 0)
        if list(self.milestones) != sorted(self.milestones):
            raise InputError(f"schedule.milestones must rise, not {list(self.milestones)}")

    def factor(self, epoch: float, epochs: float) -> float:
        return self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Multiply by ``gamma`` once in ``every`` epochs, both above 0; without ``staircase`` smoothly, by ``gamma ** (epoch / every)``.

    Source: arXiv 1803.06373, section 4.2, and arXiv 1512.00567, section 8, "decayed every two epoch using an exponential rate of 0.94".
    """

    gamma: float = 0.94
    every: float = 2.0
    staircase: bool = True

    def __post_init__(self) -> None:
        positive("schedule.gamma", self.gamma)
        positive("schedule.every", self.every)

    def factor(self, epoch: float, epochs: float) -> float:
        passed = epoch / self.every
        return self.gamma ** (math.floor(passed + 1e-9) if self.staircase else passed)  # 0.3 / 0.1 is a little below 3


class RMSProp(Optimizer):
    """timm's ``RMSpropTF``: RMSProp as TensorFlow computes it, which the paper's ImageNet networks were trained with.

    ``torch.optim.RMSprop`` starts with a mean square of 0 instead of 1, adds ``eps`` outside the root, and multiplies by ``lr`` after the
    momentum, so that a changed rate acts at once on all of the velocity.

    Args:
        params: the weights, or groups of them.
        decay: of the mean square.
        eps: added to the mean square.
        weight_decay: times the weight, added to its gradient.

    Raises:
        InputError: for ``lr`` or ``eps`` not above 0, ``decay`` or ``momentum`` outside [0, 1), or ``weight_decay`` below 0.

    Source: arXiv 1803.06373 gives ``lr`` and ``momentum``, for a batch of 1600. It gives neither ``decay`` nor ``eps``: these are those
    of the InceptionV3 that it trains, arXiv 1512.00567, section 8.
    """

    def __new__(  # pyright: ignore[reportInconsistentConstructor]  (timm is imported when an optimizer is made, not to read settings)
        cls,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 0.045,
        decay: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1.0,
        weight_decay: float = 0.0,
    ) -> Any:
        positive("optimizer.lr", lr)
        positive("optimizer.eps", eps)
        at_least("optimizer.weight_decay", weight_decay, 0)
        fraction("optimizer.decay", decay, one=False)
        fraction("optimizer.momentum", momentum, one=False)
        return import_timm().optim.RMSpropTF(params, lr=lr, alpha=decay, momentum=momentum, eps=eps, weight_decay=weight_decay)


def decayed_apart(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Two groups for an optimizer: weights, and without weight decay all of one dimension (biases, scales and shifts of BatchNorm)."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in parameters:
        groups[parameter.ndim > 1].append(parameter)
    return [{"params": groups[True]}, {"params": groups[False], "weight_decay": 0.0}]


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the model's weights and of its floating-point buffers, such as BatchNorm's statistics.

    Each update keeps ``decay``, in (0, 1), of the old average; early on at most (1 + t) / (10 + t), as TensorFlow does it. Whole numbers,
    such as BatchNorm's count of batches, are copied.
    """
    fraction("ema", decay, zero=False, one=False)

    def update(averages: Any, weights: Any, updates: Tensor | int) -> None:
        t = int(updates)  # read from the device once for all parameters
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, 1 - min(decay, (1 + t) / (10 + t)))
            else:
                average.copy_(weight)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
