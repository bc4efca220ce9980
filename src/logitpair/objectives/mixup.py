"""Mixup."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from logitpair.objectives.base import Images, Labels, LossTerms, SmoothedLabels, forward_together, with_auxiliary
from logitpair.rng import RandomSource, uniform_like, uniform_number
from logitpair.validate import positive


@dataclass(frozen=True, kw_only=True)
class Mixup(SmoothedLabels):
    """Cross-entropy on convex combinations of two images, with their labels combined alike.

    The batch is mixed with a random permutation of itself: ``share`` of each image, drawn once a batch from Beta(``alpha``,
    ``alpha``), and the rest of its partner. Under data-parallel training the processes draw the same share and each finds partners
    within its own part of the batch, so that another number of processes pairs, and trains, otherwise. No logits are reported, since
    none belong to one label.

    Args:
        alpha: of the Beta distribution, above 0; near 0 hardly mixes, 1 is uniform, large values mix half and half.
        label_smoothing: share of each label spread evenly over all classes in the cross-entropy, in [0, 1).

    Raises:
        InputError: for ``label_smoothing`` outside [0, 1), ``alpha`` not above 0.

    Source: arXiv 1710.09412, section 2; one share a batch and a permutation of the batch, as its implementation there.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("alpha", self.alpha)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        share = symmetric_beta(self.alpha, generator)
        partner = uniform_like(x[:, 0, 0, 0], generator).argsort()
        (logits,) = forward_together(model, y, share * x + (1 - share) * x[partner])

        def mixed(logits: Tensor, y: Labels) -> Tensor:
            return share * self.cross_entropy(logits, y) + (1 - share) * self.cross_entropy(logits, y[partner])

        total = mixed(logits, y).mean()
        return with_auxiliary(LossTerms(total, {"mixed_loss": total}, {}), model, y, mixed)


def symmetric_beta(alpha: float, generator: RandomSource | None) -> float:
    """A number from Beta(``alpha``, ``alpha``), ``alpha`` above 0.

    PyTorch's own sampler takes no generator, so NumPy's draws it, from a seed that the generator gives.
    """
    seed = int(uniform_number(generator) * 2**53)
    return float(np.random.default_rng(seed).beta(alpha, alpha))
