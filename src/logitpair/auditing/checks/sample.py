"""The few images that the checks look at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from logitpair.rng import ExampleStreams, derive_seed


@dataclass(frozen=True)
class Sample:
    """A few images that the network is looked at with.

    Args:
        model: in eval mode, frozen.
        x, y: images and labels.
        seed: of what is random.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    seed: int

    def streams(self, purpose: str) -> ExampleStreams:
        """Random numbers of one purpose."""
        return ExampleStreams(derive_seed(self.seed, purpose), torch.arange(len(self.x)))

    def only(self, rows: Tensor) -> Sample:
        """Those of them that a mask chooses."""
        return replace(self, x=self.x[rows], y=self.y[rows])
