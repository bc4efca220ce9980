"""Regular training."""

from dataclasses import dataclass

from torch import nn

from logitpair.objectives.base import Images, Labels, LossTerms, Objective, RandomSource, forward_together


@dataclass(frozen=True, kw_only=True)
class StandardTraining(Objective):
    """Mean cross-entropy on the clean batch; with ``label_smoothing`` (0.1 in arXiv 1512.00567, section 7) a defense of its own."""

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        (logits,) = forward_together(model, y, x)
        total = self.cross_entropy(logits, y).mean()
        return LossTerms(total, {"clean_loss": total}, {"clean": logits})
