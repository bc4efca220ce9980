"""Adversarial training: PGD training of Madry et al. and the mixed-minibatch PGD (M-PGD) of the paper."""

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor, nn

from logitpair.attacks import Attack
from logitpair.objectives.base import Images, Labels, LossTerms, RandomSource, forward_together
from logitpair.objectives.warmup import AttackWarmup
from logitpair.validate import fraction


@dataclass(frozen=True)
class AdversarialTraining(AttackWarmup):
    """Cross-entropy on adversarial examples, mixed with cross-entropy on the clean ones.

    ``clean_weight`` 0 is Madry's PGD training (arXiv 1803.06373, eq. 1); 0.5 is M-PGD (eq. 2): the mean over a minibatch of which
    half is clean and half adversarial.

    Args:
        attack: makes the adversarial examples; it always searches to its last step, against the model in eval mode.
        clean_weight: weight of the clean loss, in [0, 1); the adversarial loss has the rest.

    Departs from the paper only in the warm-up, which it does not have.
    """

    attack: Attack
    _: KW_ONLY
    clean_weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("clean_weight", self.clean_weight, one=False)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        x_adv = self.adversarial_examples(model, x, y, generator)
        if self.clean_weight == 0:
            (adversarial,) = forward_together(model, y, x_adv)
            total = self.cross_entropy(adversarial, y).mean()
            return LossTerms(total, {"adversarial_loss": total}, {"adversarial": adversarial})
        clean, adversarial = forward_together(model, y, x, x_adv)
        total, terms = self.mixed_cross_entropy(clean, adversarial, y)
        return LossTerms(total, terms, {"clean": clean, "adversarial": adversarial})

    def mixed_cross_entropy(self, clean: Tensor, adversarial: Tensor, y: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """``clean_weight`` of the clean mean cross-entropy plus the rest of the adversarial one, and the two by name."""
        clean_loss = self.cross_entropy(clean, y).mean()
        adversarial_loss = self.cross_entropy(adversarial, y).mean()
        total = torch.lerp(adversarial_loss, clean_loss, self.clean_weight)
        return total, {"clean_loss": clean_loss, "adversarial_loss": adversarial_loss}
