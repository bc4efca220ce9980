"""MART: adversarial training that looks harder at the images misclassified without any attack."""

from dataclasses import KW_ONLY, dataclass

from torch import nn

from logitpair import losses
from logitpair.attacks import Attack
from logitpair.objectives.base import Images, Labels, LossTerms, RandomSource, forward_together
from logitpair.objectives.warmup import AttackWarmup, WeightWarmup


@dataclass(frozen=True)
class MART(AttackWarmup, WeightWarmup):
    """Boosted cross-entropy on adversarial examples plus ``weight`` times KL(p || q) (1 - p[y]), p the clean prediction, q the adversarial.

    The less sure of the true class the network is on the clean image, the more the two predictions are held together. Gradients flow
    through both, and through the factor.

    Args:
        attack: makes the adversarial examples; it always searches to its last step, against the model in eval mode.
        weight: the source's lambda, at least 0.

    Source: Wang et al., "Improving Adversarial Robustness Requires Revisiting Misclassified Examples", ICLR 2020
    (openreview.net/forum?id=rklOg6EFwS; not on arXiv), section 3. Departs from its code in adding no constants inside the logarithms,
    and from it in the warm-ups.
    """

    attack: Attack
    _: KW_ONLY
    weight: float = 5.0

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        clean, adversarial = forward_together(model, y, x, self.adversarial_examples(model, x, y, generator))
        boosted = losses.boosted_cross_entropy(adversarial, y)
        if self.label_smoothing:  # of its part that is the cross-entropy
            boosted = boosted - losses.cross_entropy(adversarial, y) + self.cross_entropy(adversarial, y)
        boosted_loss = boosted.mean()
        unsure = -losses.cross_entropy(clean, y).neg().expm1()  # 1 - p[y], exact where p[y] is almost 1
        divergence = (losses.kl_from_clean(clean, adversarial) * unsure).mean()
        total = boosted_loss + self.weight * divergence
        return LossTerms(total, {"boosted_loss": boosted_loss, "divergence": divergence}, {"clean": clean, "adversarial": adversarial})
