"""Where a search begins, where that is neither the image nor a uniform point of the ball."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from logitpair.attacks.base import Images
from logitpair.random import Generator, uniform_like
from logitpair.threat import Linf


@dataclass(frozen=True)
class SignStart:
    """A step of ``alpha = eps/2`` up or down in every pixel, by the toss of a coin: what "R+" stands for.

    Source: Tramer et al. 2018, arXiv 1705.07204 (RAND+FGSM), ``x + alpha * sign(N(0, I))``. Departs from it in clipping to the box
    already here, so that the model never sees an image that is none.
    """

    def draw(self, threat: Linf, x: Images, generator: Generator | None) -> Images:
        """A start for each image of ``x``, in the ball and in the box."""
        alpha = threat.eps / 2
        return threat.project(torch.where(uniform_like(x, generator) < 0.5, x - alpha, x + alpha), x)
