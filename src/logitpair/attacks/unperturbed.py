"""The attack that changes nothing, at the beginning of a curve of accuracy against eps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from logitpair.attacks.base import Attack, Images, Labels
from logitpair.rng import RandomSource
from logitpair.threat import Linf


@dataclass(frozen=True)
class Unperturbed(Attack):
    """The images themselves, at eps 0."""

    threat: Linf = Linf(0.0)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Images:
        return x.clone()
