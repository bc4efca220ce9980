"""Adversarial logit pairing (ALP), the paper's defense."""

from dataclasses import KW_ONLY, dataclass

from torch import nn

from logitpair import losses
from logitpair.objectives.adversarial_training import AdversarialTraining
from logitpair.objectives.base import Images, Labels, LossTerms, RandomSource, forward_together, mean_of
from logitpair.objectives.warmup import WeightWarmup


@dataclass(frozen=True)
class AdversarialLogitPairing(WeightWarmup, AdversarialTraining):
    """M-PGD plus ``weight`` times the mean pairing penalty between the logits of an image and of its adversarial example.

    Source: arXiv 1803.06373, section 3.2. Gradients flow through both sides of the pair, as in the authors' released code.

    Args:
        attack: makes the adversarial examples; it always searches to its last step, against the model in eval mode.
        weight: the paper's lambda, at least 0 (MNIST 0.2-1, SVHN 0.5-1, ImageNet 0.25-0.5).
        pairing: ``pairing(clean_logits, adversarial_logits) -> [batch]``. The default, the mean over classes, is what the released
            code computes; ``logitpair.losses.squared_l2_sum`` is the formula as printed, ``classes`` times as large.
        clean_weight: weight of the clean cross-entropy, in [0, 1).
    """

    _: KW_ONLY
    weight: float = 0.5
    pairing: losses.Loss = losses.squared_l2_mean

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        clean, adversarial = forward_together(model, y, x, self.adversarial_examples(model, x, y, generator))
        cross_entropy, terms = self.mixed_cross_entropy(clean, adversarial, y)
        pairing = mean_of(self.pairing(clean, adversarial), x)
        total = cross_entropy + self.weight * pairing
        return LossTerms(total, terms | {"pairing": pairing}, {"clean": clean, "adversarial": adversarial})
