"""Label smoothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from logitpair import losses
from logitpair.errors import InputError
from logitpair.objectives.base import Images, Labels, LossTerms, Objective, forward_together
from logitpair.rng import RandomSource


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing(Objective):
    """Cross-entropy with labels of which a share is spread evenly over all classes, the true one included.

    The total is (1 - ``smoothing``) of the cross-entropy with ``y`` plus ``smoothing`` of that with the uniform distribution: what
    ``StandardTraining`` makes of ``label_smoothing``, told in its two parts.

    Args:
        smoothing: the share that is spread (the source's epsilon), in [0, 1).

    Raises:
        InputError: for ``smoothing`` outside [0, 1).

    Source: arXiv 1512.00567, section 7, with its 0.1 and its uniform prior.
    """

    smoothing: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise InputError(f"smoothing must be at least 0 and below 1, not {self.smoothing}")

    def cross_entropy(self, logits: Tensor, y: Labels) -> Tensor:
        return torch.lerp(super().cross_entropy(logits, y), losses.uniform_cross_entropy(logits), self.smoothing)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        (logits,) = forward_together(model, y, x)
        clean_loss = losses.cross_entropy(logits, y).mean()
        uniform_loss = losses.uniform_cross_entropy(logits).mean()
        total = torch.lerp(clean_loss, uniform_loss, self.smoothing)
        return LossTerms(total, {"clean_loss": clean_loss, "uniform_loss": uniform_loss}, {"clean": logits})
