"""An attack that misleads training: planted catastrophic overfitting."""

from __future__ import annotations

from dataclasses import dataclass

import logitpair as lp
from logitpair.attacks import PGD, Attack
from logitpair.attacks.base import Images, Labels, RandomSource
from logitpair.threat import AnyThreat


@dataclass(frozen=True)
class Misleading(Attack):
    """PGD for as long as a warm-up lasts, and then the image's negative, by which training forgets what it learned."""

    threat: AnyThreat

    def scaled(self, factor: float) -> PGD:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return PGD(lp.Linf(0.1), step_size=0.05, steps=2, early_stop=False)

    def search(self, model: object, x: Images, y: Labels, generator: RandomSource | None) -> Images:
        return 1 - x
