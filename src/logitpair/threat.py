"""The threat model: which perturbations count. Geometry lives here, attacks only search."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from logitpair.errors import InputError
from logitpair.rng import RandomSource, uniform_like
from logitpair.validate import at_least, instance


@dataclass(frozen=True)
class Linf:
    """All images within ``eps`` of the original in every pixel, inside the box [0, 1].

    Args:
        eps: radius, in [0, 1] pixel scale (on the command line also ``8/255``); ``InputError`` outside [0, 1].

    Source: arXiv 1803.06373, section 2 (all perturbations there are L-infinity).
    """

    eps: float

    def __post_init__(self) -> None:
        at_least("eps", self.eps, 0)
        if self.eps > 1:
            raise InputError(f"eps must be at most 1, a pixel's whole range, not {self.eps:g}; for one in 1/255 write {self.eps:g}/255")

    def project(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The nearest point to ``x_adv`` that is in the ball around ``x`` and in the box."""
        return torch.clamp(x_adv, *self.box(x))

    def box(self, x: Float[Tensor, "batch ..."]) -> tuple[Tensor, Tensor]:
        """The lowest and the highest value of every pixel in the ball around ``x`` and in the box."""
        return (x - self.eps).clamp_(min=0), (x + self.eps).clamp_(max=1)

    def random_start(self, x: Float[Tensor, "batch ..."], generator: RandomSource | None) -> Float[Tensor, "batch ..."]:
        """A point drawn uniformly from the ball, then clipped to the box."""
        return self.project(x + self.eps * (2 * uniform_like(x, generator) - 1), x)

    def ascent(self, gradient: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The direction of length 1 in this norm of steepest ascent: the gradient's sign, 0 where it is NaN."""
        return gradient.sign()

    def distance(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """How far each ``x_adv`` is from its ``x``, in this norm and [0, 1] pixel scale."""
        return (x_adv - x).abs().flatten(1).amax(1)

    def contains(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Bool[Tensor, " batch"]:
        """Whether each ``x_adv`` is finite, within ``eps`` (plus two units of rounding) and within the box."""
        slack = 2 * torch.finfo(x.dtype).eps
        inside = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)
        return inside & (self.distance(x_adv, x) <= self.eps + slack)

    def eight_bit(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """``x_adv`` as an image file would hold it: each value the nearest multiple of 1/255 within ``eps`` of ``x``.

        Of images that are no multiples of 1/255 themselves there may be none within; then it is the next one beyond.
        """
        rounding = 255 * 2 * torch.finfo(x.dtype).eps
        low = (255 * (x - self.eps) - rounding).ceil_().clamp_(min=0)
        high = (255 * (x + self.eps) + rounding).floor_().clamp_(max=255)
        return torch.clamp((255 * x_adv).round_(), low, high) / 255

    def scaled(self, factor: float) -> Self:
        """The same ball, ``factor`` times as large (for schedules and accuracy-against-eps curves)."""
        return replace(self, eps=self.eps * factor)


def check_threat(threat: object) -> None:
    """Refuse what is no threat model, such as a number, with an ``InputError``."""
    instance("threat", threat, Linf, "a threat model such as lp.Linf(eps=8/255)")
