"""Mixup."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from logitpair.objectives.base import Images, Labels, LossTerms, Objective, forward_together, with_auxiliary
from logitpair.rng import RandomSource, uniform_like, uniform_number
from logitpair.validate import positive


@dataclass(frozen=True, kw_only=True)
class Mixup(Objective):
    """Cross-entropy on convex combinations of two images, with their labels combined alike.

    The batch is mixed with a random permutation of itself: a fraction of each image, drawn once a batch from Beta(``alpha``,
    ``alpha``), and the rest of its partner. Under data-parallel training each process finds partners among its own images of the batch,
    so that another number of processes trains otherwise. No logits are reported, since none belong to one label.

    Args:
        alpha: of the Beta distribution, above 0; near 0 hardly mixes, 1 is uniform, large values mix half and half.

    Source: arXiv 1710.09412, section 2; one fraction a batch and a permutation of the batch, as its implementation there.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("alpha", self.alpha)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        own = symmetric_beta(self.alpha, generator)
        partner = uniform_like(x[:, 0, 0, 0], generator).argsort()
        (logits,) = forward_together(model, y, own * x + (1 - own) * x[partner])

        def mixed(logits: Tensor, y: Labels) -> Tensor:
            return own * self.cross_entropy(logits, y) + (1 - own) * self.cross_entropy(logits, y[partner])

        total = mixed(logits, y).mean()
        return with_auxiliary(LossTerms(total, {"mixed_loss": total}, {}), model, y, mixed)


def symmetric_beta(alpha: float, generator: RandomSource | None) -> float:
    """A number from Beta(``alpha``, ``alpha``), by NumPy from a seed of the generator's: PyTorch's sampler takes no generator."""
    seed = int(uniform_number(generator) * 2**53)
    return float(np.random.default_rng(seed).beta(alpha, alpha))
