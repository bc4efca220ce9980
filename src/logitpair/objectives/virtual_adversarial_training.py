"""Virtual adversarial training (VAT)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import nn

from logitpair import losses
from logitpair.models.inference import compute_logits, frozen_eval
from logitpair.objectives.base import Images, Labels, LossTerms, forward_together, mean_of
from logitpair.objectives.warmup import WeightWarmup, ramp
from logitpair.rng import RandomSource, normal_like
from logitpair.runtime import precision
from logitpair.runtime.distributed import unwrap_model
from logitpair.threat import L2, Linf
from logitpair.validate import at_least, positive, whole


def l2_ascent(gradient: Images) -> Images:
    """The gradient at Euclidean length 1, image by image: where a step in an L2 ball ascends fastest. A zero gradient stays 0."""
    return L2(0).ascent(gradient)


def linf_ascent(gradient: Images) -> Images:
    """The gradient's sign: where a step in an L-infinity ball ascends fastest."""
    return Linf(0).ascent(gradient)


@dataclass(frozen=True, kw_only=True)
class VirtualAdversarialTraining(WeightWarmup):
    """Clean cross-entropy plus ``weight`` times the divergence of the prediction under the perturbation that moves it most.

    That perturbation is found without the label: the divergence is flat at the image, so its curvature is probed at distance
    ``xi``, by power iteration from a random direction. The gradient of the loss flows neither through the search nor through the
    clean prediction that the other is compared with.

    Args:
        eps: length of the perturbation, at least 0, in [0, 1] pixel scale and in the norm of ``ascent``.
        weight: of the divergence, at least 0.
        divergence: ``divergence(clean_logits, other_logits) -> [batch]``: ``logitpair.losses.kl_from_clean`` is the source's KL(p || q)
            of the clean prediction p and the other one q, ``kl_to_clean`` the other direction.
        ascent: the step of length 1 along a gradient, and so the ball: ``l2_ascent`` (the source's) or ``linf_ascent`` of this module.
        xi: how far from the image the curvature is probed, above 0, as Euclidean length in [0, 1] pixel scale.
        power_iterations: forward and backward passes of the search, at least 1.
        warmup: epochs over which ``eps`` grows linearly from 0; 0 starts at full size.

    Source: arXiv 1704.03976, section 3. Departs from it in that the perturbed image is clipped to [0, 1], all data are labelled, the
    search sees the model in eval mode, and ``xi`` is larger than the 1e-6 of its code, at which float32 rounding drowns the
    difference. The warm-ups are not in it. The two KL directions and the L-infinity ball are those of arXiv 1803.06373's comparison.
    """

    eps: float
    weight: float = 1.0
    divergence: losses.Loss = losses.kl_from_clean
    ascent: Callable[..., Any] = l2_ascent
    xi: float = 0.1
    power_iterations: int = 1
    warmup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("eps", self.eps, 0)
        at_least("warmup", self.warmup, 0)
        positive("xi", self.xi)
        whole("power_iterations", self.power_iterations, 1)

    def at(self, epoch: float) -> Self:
        return replace(super().at(epoch), eps=self.eps * ramp(epoch, self.warmup))

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        clean, moved = forward_together(model, y, x, self.search(unwrap_model(model), x, generator))
        clean_loss = self.cross_entropy(clean, y).mean()
        divergence = mean_of(self.divergence(clean.detach(), moved), x)
        total = clean_loss + self.weight * divergence
        return LossTerms(total, {"clean_loss": clean_loss, "divergence": divergence}, {"clean": clean, "adversarial": moved})

    def search(self, model: nn.Module, x: Images, generator: RandomSource | None) -> Images:
        """The virtual adversarial images, in [0, 1]; the model is left as it was."""
        x = x.detach()
        gradient = normal_like(x, generator)
        with frozen_eval(model), precision.full_precision(x.device):  # the probe's difference is below what bfloat16 can tell
            with torch.no_grad():
                clean = compute_logits(model, x)
            for _iteration in range(self.power_iterations):
                probe = (x + self.xi * l2_ascent(gradient)).requires_grad_()
                (gradient,) = torch.autograd.grad(self.divergence(clean, compute_logits(model, probe)).sum(), probe)
        return (x + self.eps * self.ascent(gradient)).clamp_(0, 1)
