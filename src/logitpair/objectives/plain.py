"""Regular training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from logitpair import losses
from logitpair.objectives.base import Images, Labels, LossTerms, Objective, forward_together
from logitpair.random import Generator


@dataclass(frozen=True)
class Plain(Objective):
    """Mean cross-entropy on the clean batch."""

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: Generator | None) -> LossTerms:
        (logits,) = forward_together(model, y, x)
        total = losses.cross_entropy(logits, y).mean()
        return LossTerms(total, {"clean_loss": total}, {"clean": logits})
