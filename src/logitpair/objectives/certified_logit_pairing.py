"""Certified logit pairing: adversarial logit pairing whose adversary is the worst case that bounds allow."""

from dataclasses import KW_ONLY, dataclass, replace
from typing import Self

import torch
from torch import nn

from logitpair import losses
from logitpair.attacks import Attack
from logitpair.objectives.base import Images, Labels, LossTerms, RandomSource, mean_of
from logitpair.objectives.interval_bound_propagation import IntervalBoundPropagation
from logitpair.objectives.warmup import WeightWarmup, grown, smooth_ramp
from logitpair.runtime.distributed import unwrap_model
from logitpair.validate import fraction


@dataclass(frozen=True)
class CertifiedLogitPairing(WeightWarmup, IntervalBoundPropagation):
    """IBP plus ``weight`` times the mean pairing penalty between the clean logits of an image and the worst that bounds allow.

    The worst logits are those of ``IntervalBoundPropagation``: the true class's stays at its clean value and every other is as far
    above it as the bounds allow, so that the penalty is on how much each difference of logits can grow in the ball.

    Args:
        weight: of the pairing, at least 0; 0 is IBP.
        pairing: ``pairing(clean_logits, worst_logits) -> [batch]``.
        attack: makes adversarial examples whose logits are mixed into the worst ones; None for none. They go through the network in one
            batch with the clean ones, so that BatchNorm's statistics, by which bounds are normalised too, are of both.
        bound_share: with an ``attack``, the part of the bounds in the worst logits, in (0, 1]; the rest are the adversarial logits
            (the CC-IBP of arXiv 2305.13991, section 4.1).

    Source: ours; arXiv 1803.06373, section 3.2, with the adversary of arXiv 1810.12715.
    """

    _: KW_ONLY
    weight: float = 0.5
    pairing: losses.Loss = losses.squared_l2_mean
    attack: Attack | None = None
    bound_share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("bound_share", self.bound_share, zero=False)

    def at(self, epoch: float) -> Self:
        return replace(super().at(epoch), attack=None if self.attack is None else grown(self.attack, smooth_ramp(epoch, self.warmup)))

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        x_adv = list[Images]()
        if self.attack is not None:
            x_adv.append(self.attack.without_early_stop().find_unchecked(unwrap_model(model), x, y, generator).x_adv)
        (clean, *adversarial), certified, layers = self.bounded_logits(model, y, x, *x_adv)
        worst = certified
        for logits in adversarial:
            own = logits - logits.gather(1, y.unsqueeze(1)) + clean.gather(1, y.unsqueeze(1))
            worst = torch.lerp(own, worst, self.bound_share)
        total, terms = self.mixed_cross_entropy(clean, worst, y)
        terms["pairing"] = mean_of(self.pairing(clean, worst), x)
        total = total + self.weight * terms["pairing"] + self.regularization * self.regularizer(layers, terms)
        return LossTerms(total, terms, {"clean": clean, "certified": certified})
