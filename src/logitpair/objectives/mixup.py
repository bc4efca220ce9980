"""Mixup."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from logitpair import losses
from logitpair.objectives.base import Images, Labels, LossTerms, Objective, forward_together
from logitpair.random import Generator, normal_like, uniform_like
from logitpair.validate import positive


@dataclass(frozen=True, kw_only=True)
class Mixup(Objective):
    """Cross-entropy on convex combinations of two images, with their labels combined alike.

    The batch is mixed with a random permutation of itself: ``share`` of each image, drawn once a batch from Beta(``alpha``,
    ``alpha``), and the rest of its partner. Under data-parallel training each process mixes its own part of the batch with a share
    of its own. No logits are reported, since none belong to one label.

    Args:
        alpha: of the Beta distribution, above 0; near 0 hardly mixes, 1 is uniform, large values mix half and half.

    Raises:
        InputError: for ``alpha`` not above 0.

    Source: arXiv 1710.09412, section 2; one share a batch and a permutation of the batch, as its implementation there.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive("alpha", self.alpha)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: Generator | None) -> LossTerms:
        share = symmetric_beta(self.alpha, x, generator)
        partner = uniform_like(x[:, 0, 0, 0], generator).argsort()
        (logits,) = forward_together(model, y, share * x + (1 - share) * x[partner])
        own, other = losses.cross_entropy(logits, y), losses.cross_entropy(logits, y[partner])
        total = (share * own + (1 - share) * other).mean()
        return LossTerms(total, {"mixed_loss": total}, {})


def symmetric_beta(alpha: float, x: Images, generator: Generator | None) -> float:
    """A number from Beta(``alpha``, ``alpha``), ``alpha`` above 0; ``torch.distributions`` takes no generator.

    Args:
        alpha: above 0.
        x: a batch, for its dtype, its device and (where each example has a stream of its own) its size.
        generator: source of randomness.

    It is a / (a + b) of two Gamma numbers, by their logarithms: for a small ``alpha`` both may be too small for a float.
    """
    difference = _log_gamma(alpha, x, generator) - _log_gamma(alpha, x, generator)
    return torch.tensor(difference, dtype=torch.float64).sigmoid().item()


def _log_gamma(alpha: float, x: Images, generator: Generator | None) -> float:
    """The logarithm of a number from Gamma(``alpha``, 1).

    Source: Marsaglia and Tsang, "A simple method for generating gamma variables", 2000: by rejection for alpha + 1, which accepts
    more than 95 of 100 proposals, then their section 6 down to alpha.
    """
    each = x[:, 0, 0, 0]
    d = alpha + 2 / 3
    while True:
        z = normal_like(each, generator)[0].item()
        accept, boost = (1 - uniform_like(each, generator)[0].item() for _ in range(2))  # in (0, 1]
        v = (1 + z / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(accept) < z * z / 2 + d * (1 - v + math.log(v)):
            return math.log(d * v) + math.log(boost) / alpha
