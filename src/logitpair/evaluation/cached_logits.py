"""What every targeted attack asks of a network first, its logits on the clean images, computed once."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from logitpair.models.inference import Images


class CachedLogits(nn.Module):
    """The network, which remembers its logits on the clean images ``x`` and counts in ``hits`` how often it gave them from memory.

    Anything but these very images, all of them, and anything that a gradient is asked of goes through the network.

    Args:
        model: the network.
        x: the clean images.
        logits: of them, ``[batch, classes]``; None if they are to be kept from the first pass.
    """

    def __init__(self, model: nn.Module, x: Images, logits: Tensor | None = None) -> None:
        super().__init__()
        self.model, self.x, self.logits, self.hits = model, x, logits, 0
        self.training = model.training

    def on(self, rows: Tensor) -> CachedLogits:
        """Of these rows of the images alone; what it remembers later is kept where they are all."""
        if len(rows) == len(self.x):
            return self
        return CachedLogits(self.model, self.x[rows], None if self.logits is None else self.logits[rows])

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or (x.shape, x.dtype, x.device) != (self.x.shape, self.x.dtype, self.x.device) or not torch.equal(x, self.x):
            return self.model(x)
        if self.logits is None:
            self.logits = self.model(x).detach()
        else:
            self.hits += 1
        return self.logits.clone()

    def train(self, mode: bool = True) -> Self:
        self.training = mode
        self.model.train() if mode else self.model.eval()  # which a network may override
        return self
