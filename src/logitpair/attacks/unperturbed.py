"""The attack that changes nothing: what a curve starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import nn

from logitpair.attacks.base import Attack, Images, Labels
from logitpair.rng import RandomSource
from logitpair.threat import Linf


@dataclass(frozen=True)
class Unperturbed(Attack):
    """The images themselves, at eps 0."""

    threat: Linf = Linf(0.0)

    def scaled(self, factor: float) -> Self:
        return self

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Images:
        return x.clone()
