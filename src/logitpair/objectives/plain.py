"""Regular training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from logitpair.objectives.base import Images, Labels, LossTerms, SmoothedLabels, forward_together
from logitpair.rng import RandomSource


@dataclass(frozen=True, kw_only=True)
class StandardTraining(SmoothedLabels):
    """Mean cross-entropy on the clean batch.

    Args:
        label_smoothing: share of each label spread evenly over all classes in the cross-entropy, in [0, 1).

    Raises:
        InputError: for ``label_smoothing`` outside [0, 1).
    """

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        (logits,) = forward_together(model, y, x)
        total = self.cross_entropy(logits, y).mean()
        return LossTerms(total, {"clean_loss": total}, {"clean": logits})
