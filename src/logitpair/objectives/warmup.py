"""Warm-ups: attacks and weights that grow over the first epochs, as pure functions of the epoch."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import nn

from logitpair.attacks import Attack
from logitpair.objectives.base import Images, Labels, Objective, RandomSource
from logitpair.runtime.distributed import unwrap_model
from logitpair.validate import at_least


@dataclass(frozen=True, kw_only=True)
class WeightWarmup(Objective):
    """A defense whose penalty has a weight that may grow.

    Args:
        weight_warmup: epochs over which the weight grows linearly from 0; 0 starts at full size.
    """

    weight_warmup: float = 0.0
    weights: ClassVar[tuple[str, ...]] = ("weight",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weight_warmup", *self.weights):
            at_least(name, getattr(self, name), 0)

    def at(self, epoch: float) -> Self:
        factor = ramp(epoch, self.weight_warmup)
        return replace(super().at(epoch), **{name: factor * getattr(self, name) for name in self.weights})


@dataclass(frozen=True, kw_only=True)
class AttackWarmup(Objective):
    """A defense with an ``attack`` that may grow.

    Args:
        attack: makes the adversarial examples; it always searches to its last step, against the model in eval mode.
        warmup: epochs over which the attack's ``eps`` and ``step_size`` grow linearly to their full size; 0 starts at full size.
    """

    attack: Attack
    warmup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("warmup", self.warmup, 0)

    def at(self, epoch: float) -> Self:
        return replace(super().at(epoch), attack=grown(self.attack, ramp(epoch, self.warmup)))

    def adversarial_examples(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Images:
        """The adversarial examples of a batch."""
        source = self.source_model(model, x, generator)
        return self.attack.without_early_stop().find_unchecked(source, x, y, generator).x_adv

    def source_model(self, model: nn.Module, x: Images, generator: RandomSource | None) -> nn.Module:
        """The network that the images of this batch are made against: the one in training."""
        return unwrap_model(model)


def ramp(epoch: float, warmup: float) -> float:
    """The part of ``warmup`` epochs that has passed, 1 from then on: what a warm-up multiplies by."""
    return min(1.0, epoch / warmup) if warmup else 1.0


def smooth_ramp(epoch: float, warmup: float) -> float:
    """From 0 to 1 as ``ramp``, but as the fourth power of the epoch over the first quarter, then along its tangent (arXiv 2103.17268).

    For bounds: a deep network's intervals are wide before it has learnt anything, and an eps that grows linearly from its first step on
    can leave it at one class for all images.
    """
    passed = ramp(epoch, warmup)
    return (4 * passed) ** 4 / 13 if passed < 1 / 4 else 1 - 16 / 13 * (1 - passed)


def grown(attack: Attack, part: float) -> Attack:
    """The attack scaled to a part of its size, never quite 0: a step of no length is no attack."""
    return attack.scaled(max(part, 1e-3)) if part < 1 else attack
