"""Adversarial training: PGD training of Madry et al. and the mixed-minibatch PGD (M-PGD) of the paper."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor, nn

from logitpair.attacks import Attack
from logitpair.errors import InputError
from logitpair.objectives.base import Images, Labels, LossTerms, Objective, SmoothedLabels, forward_together
from logitpair.objectives.warmup import AttackWarmup
from logitpair.rng import RandomSource
from logitpair.runtime.distributed import bare


@dataclass(frozen=True)
class AdversarialTraining(AttackWarmup, SmoothedLabels):
    """Cross-entropy on adversarial examples, mixed with cross-entropy on the clean ones.

    ``clean_weight`` 0 is Madry's PGD training (arXiv 1803.06373, eq. 1); 0.5 is M-PGD (eq. 2): the mean over a minibatch of which
    half is clean and half adversarial.

    Args:
        attack: makes the adversarial examples; it always searches to its last step, against the model in eval mode.
        clean_weight: weight of the clean loss, in [0, 1); the adversarial loss has the rest.
        warmup: epochs over which the attack's ``eps`` and ``step_size`` grow linearly to their full size; 0 starts at full size.
        label_smoothing: share of each label spread evenly over all classes in the cross-entropy, in [0, 1).

    Raises:
        InputError: for ``label_smoothing`` outside [0, 1), ``clean_weight`` outside [0, 1) or ``warmup`` below 0.

    Departs from the paper only in the warm-up, which it does not have.
    """

    attack: Attack
    _: KW_ONLY
    clean_weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.clean_weight)

    def victim(self, model: nn.Module, x: Images, generator: RandomSource | None) -> nn.Module:
        """The network that the images of this batch are made against: the one in training."""
        return bare(model)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        x_adv = self.attack.without_early_stop()(self.victim(model, x, generator), x, y, generator=generator)
        if self.clean_weight == 0:
            (adversarial,) = forward_together(model, y, x_adv)
            total = self.cross_entropy(adversarial, y).mean()
            return LossTerms(total, {"adversarial_loss": total}, {"adversarial": adversarial})
        clean, adversarial = forward_together(model, y, x, x_adv)
        total, terms = mixed_cross_entropy(self, clean, adversarial, y, self.clean_weight)
        return LossTerms(total, terms, {"clean": clean, "adversarial": adversarial})


def mixed_cross_entropy(
    objective: Objective, clean: Tensor, adversarial: Tensor, y: Labels, clean_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """``clean_weight`` of the objective's clean mean cross-entropy plus the rest of the adversarial one, and the two by name."""
    clean_loss = objective.cross_entropy(clean, y).mean()
    adversarial_loss = objective.cross_entropy(adversarial, y).mean()
    total = torch.lerp(adversarial_loss, clean_loss, clean_weight)
    return total, {"clean_loss": clean_loss, "adversarial_loss": adversarial_loss}


def check_fraction(clean_weight: float) -> None:
    """Refuse a share of clean examples outside [0, 1)."""
    if not 0 <= clean_weight < 1:
        raise InputError(f"clean_weight must be at least 0 and below 1, not {clean_weight}")
