"""Where a search begins, where that is neither the image nor a uniform point of the ball."""

from dataclasses import dataclass

import torch

from logitpair.attacks.base import Images
from logitpair.rng import RandomSource, uniform_like
from logitpair.threat import Threat, signs

BLOCKS = (1 / 28, 1 / 14, 1 / 7, 1 / 4, 1 / 2)  # of the height


@dataclass(frozen=True)
class SignStart:
    """A step of length ``alpha = eps/2``, up or down in every pixel at random: the "R+" of R+FGSM.

    Source: Tramer et al. 2018, arXiv 1705.07204 (RAND+FGSM), ``x + alpha * sign(N(0, I))``. Departs from it in clipping to the box
    already here, so that the model never sees a pixel outside [0, 1].
    """

    def draw(self, threat: Threat, x: Images, generator: RandomSource | None) -> Images:
        """A start for each image of ``x``, in the ball and in the box."""
        return threat.project(x + threat.eps / 2 * threat.ascent(signs(uniform_like(x, generator))), x)


@dataclass(frozen=True)
class BlockStart:
    """A step of length eps, up or down, the same over square blocks whose size is drawn for each image: in L-infinity a corner of the ball.

    The blocks are 1/28, 1/14, 1/7, 1/4 or 1/2 of the image's height: networks that ignore noise of single pixels react to patches.
    """

    def draw(self, threat: Threat, x: Images, generator: RandomSource | None) -> Images:
        """A start for each image of ``x``, in the ball and in the box."""
        height, width = x.shape[2:]
        direction = -signs(uniform_like(x, generator))
        chosen = (uniform_like(x[:, 0, 0, 0], generator) * len(BLOCKS)).long()
        for number, size_of_height in enumerate(BLOCKS):
            size = max(1, round(size_of_height * height))
            rows = (chosen == number).nonzero().squeeze(1)
            of_row, of_column = (torch.arange(length, device=x.device) // size for length in (height, width))
            direction[rows] = direction[rows][:, :, of_row[:, None], of_column[None, :]]
        return threat.project(x + threat.eps * threat.ascent(direction), x)
