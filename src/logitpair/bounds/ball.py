"""The images that bounds hold for."""

from dataclasses import dataclass

import torch
from torch import Tensor

from logitpair.bounds.operations import Interval
from logitpair.threat import Threat


@dataclass(frozen=True, eq=False)
class Ball:
    """All images of a threat model around each of a batch.

    Args:
        threat: the threat model.
        x: images, ``[batch, channels, height, width]``.
    """

    threat: Threat
    x: Tensor

    @property
    def box(self) -> Interval:
        """The smallest intervals that hold them."""
        return Interval(*self.threat.box(self.x))

    def minimum(self, rows: Tensor) -> Tensor:
        """A lower bound of linear functions of the image, ``[batch, n, channels, height, width]``, over the ball: ``[batch, n]``.

        The larger of two: over the intervals, which is exact where they are the ball, and over the ball, the pixels' own range aside.
        """
        lower, upper = self.box
        over_box = (rows.clamp(min=0) * lower.unsqueeze(1) + rows.clamp(max=0) * upper.unsqueeze(1)).flatten(2).sum(2)
        if self.threat.fills_box:
            return over_box
        over_ball = (rows * self.x.unsqueeze(1)).flatten(2).sum(2) - self.threat.support(rows.flatten(2))
        return torch.maximum(over_box, over_ball)
