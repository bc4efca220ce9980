"""Logit squeezing."""

from dataclasses import dataclass

import torch
from torch import nn

from logitpair import losses
from logitpair.objectives.base import Images, Labels, LossTerms, RandomSource, mean_of
from logitpair.objectives.gaussian_noise import GaussianNoise
from logitpair.objectives.warmup import WeightWarmup


@dataclass(frozen=True, kw_only=True)
class LogitSqueezing(WeightWarmup, GaussianNoise):
    """Cross-entropy on noisy images plus ``weight`` times the mean size of their logits.

    This defense looks robust to weak attacks only: see ``docs/explanation/figure1.md``, and arXiv 1810.12042.

    Args:
        weight: the paper's lambda, at least 0.
        penalty: ``penalty(logits, zeros) -> [batch]``, a logit's distance from zero by any pairing penalty:
            ``logitpair.losses.l2`` is the plain norm, ``squared_l2_sum`` its square and ``squared_l2_mean`` that over the classes.
            The plain norm pulls as hard on small logits as on large: from a weight of about 0.5 on, with nothing to warm it up, the
            network may give constant logits.

    Source: arXiv 1803.06373, section 3.2, which leaves open which "norm"; the noise is that of ``GaussianNoise``. The warm-up is not in it.
    """

    weight: float = 0.5
    penalty: losses.Loss = losses.squared_l2_mean

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        logits = self.noisy_logits(model, x, y, generator)
        cross_entropy = self.cross_entropy(logits, y).mean()
        size = mean_of(self.penalty(logits, torch.zeros_like(logits)), x)
        total = cross_entropy + self.weight * size
        return LossTerms(total, {"noisy_loss": cross_entropy, "logit_size": size}, {"noisy": logits})
