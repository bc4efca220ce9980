"""TRADES: accuracy on clean images traded against agreement with them."""

from dataclasses import KW_ONLY, dataclass, replace

import torch
from torch import nn

from logitpair import losses
from logitpair.attacks import PGD
from logitpair.errors import InputError
from logitpair.models.inference import compute_logits, frozen_eval
from logitpair.objectives.base import Images, Labels, LossTerms, forward_together
from logitpair.objectives.warmup import AttackWarmup, WeightWarmup
from logitpair.rng import RandomSource, normal_like
from logitpair.runtime import precision
from logitpair.runtime.distributed import unwrap_model
from logitpair.validate import instance

START = 1e-3  # standard deviation of the noise that the search begins with: at the image itself the divergence is flat


@dataclass(frozen=True)
class TRADES(AttackWarmup, WeightWarmup):
    """Clean cross-entropy plus ``weight`` times KL(p || q) of the clean prediction p and the one q on the image that drives it furthest.

    That image is searched by PGD ascending the same divergence, without the label, from a little Gaussian noise on the clean image.
    Gradients of the loss flow through both predictions.

    Args:
        attack: gives the search its ball, ``step_size`` and ``steps``; the source replaces its loss and its start, and one with a target,
            a loss or several restarts raises ``InputError``.
        weight: of the divergence (the source's 1/lambda, 1 to 6 there), at least 0.

    Source: arXiv 1901.08573, algorithm 1. The noise of 0.001 is brought into the ball before the first step, and the warm-ups are not in
    the source.
    """

    attack: PGD
    _: KW_ONLY
    weight: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        instance("attack", self.attack, PGD, "a logitpair.attacks.PGD")
        if (self.attack.target, self.attack.restarts, self.attack.loss) != (None, 1, losses.cross_entropy):
            raise InputError("attack must have no target, no loss and 1 restart: TRADES ascends the divergence from the clean prediction")

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        clean, adversarial = forward_together(model, y, x, self.search(unwrap_model(model), x, y, generator))
        clean_loss = self.cross_entropy(clean, y).mean()
        divergence = losses.kl_from_clean(clean, adversarial).mean()
        total = clean_loss + self.weight * divergence
        return LossTerms(total, {"clean_loss": clean_loss, "divergence": divergence}, {"clean": clean, "adversarial": adversarial})

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Images:
        """The images in the ball that drive the prediction furthest; the model is left as it was."""
        x = x.detach()
        start = self.attack.threat.project(x + START * normal_like(x, generator), x)
        attack = replace(self.attack.without_early_stop(), loss=losses.kl_to_clean)  # of (logits, clean), so it is KL(p || q)
        with frozen_eval(model):
            with precision.full_precision(x.device):  # what the noise changes is below what bfloat16 can tell; a whole step is not
                with torch.no_grad():
                    clean = compute_logits(model, x)
                x_adv, _ = replace(attack, steps=1).ascend(model, x, y, clean, start)
            return replace(attack, steps=attack.steps - 1).ascend(model, x, y, clean, x_adv)[0] if attack.steps > 1 else x_adv
