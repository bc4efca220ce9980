"""The threat model: which perturbations count. Geometry lives here, attacks only search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from logitpair.errors import InputError
from logitpair.rng import RandomSource, normal_like, uniform_like
from logitpair.validate import at_least, instance

Draw = Callable[[int], Float[Tensor, "batch numbers"]]  # so many uniform numbers in [0, 1) for each image


@dataclass(frozen=True)
class Threat(ABC):
    """All images within ``eps`` of the original in some norm, inside the box [0, 1].

    A subclass gives the norm by its abstract methods, and may place the patterns of the Square Attack as its ball rewards.

    Args:
        eps: radius, in the norm and [0, 1] pixel scale, at least 0.
    """

    eps: float
    fills_box: ClassVar[bool] = False  # whether every image within ``box`` lies in the ball

    def __post_init__(self) -> None:
        at_least("eps", self.eps, 0)

    @abstractmethod
    def project(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The nearest point to ``x_adv`` that is in the ball around ``x`` and in the box; what ``contains`` accepts stays as it is."""

    @abstractmethod
    def random_start(self, x: Float[Tensor, "batch ..."], generator: RandomSource | None) -> Float[Tensor, "batch ..."]:
        """A point drawn uniformly from the ball, then brought into the box by ``project``."""

    @abstractmethod
    def ascent(self, gradient: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The direction of length 1 in this norm of steepest ascent; 0 where the gradient is 0 or NaN."""

    @abstractmethod
    def distance(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        """How far each ``x_adv`` is from its ``x``, in this norm and [0, 1] pixel scale."""

    @abstractmethod
    def rounding(self, x: Float[Tensor, "batch ..."]) -> float:
        """By how much the distance of a point of the ball may exceed ``eps``, its values being rounded."""

    @abstractmethod
    def eight_bit(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """``x_adv`` as an image file would hold it: multiples of 1/255 near to it, within ``eps`` of ``x`` where there are any.

        There are where ``x`` is of such multiples itself. Of another image they may lie outside, as ``contains`` tells.
        """

    @abstractmethod
    def support(self, weights: Float[Tensor, "... values"]) -> Float[Tensor, "..."]:
        """The largest ``weights @ (z - x)`` of all ``z`` in the ball, the box aside: ``eps`` times the dual norm of the weights."""

    @abstractmethod
    def covering(self, values: int) -> Self:
        """The smallest ball of this norm that holds, around any image of so many values, every other image."""

    def box(self, x: Float[Tensor, "batch ..."]) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
        """The lowest and the highest value of every pixel in the ball around ``x`` and in the box."""
        return (x - self.eps).clamp_(min=0), (x + self.eps).clamp_(max=1)

    def contains(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Bool[Tensor, " batch"]:
        """Whether each ``x_adv`` is finite, within ``eps`` (and ``rounding``) and within the box."""
        inside = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)
        return inside & (self.distance(x_adv, x) <= self.eps + self.rounding(x))

    def accepting(self, x: Float[Tensor, "batch ..."]) -> Self:
        """A ball that holds all that ``contains`` accepts: ``rounding`` larger, and as much for that of the distance itself."""
        return replace(self, eps=min(self.eps + 2 * self.rounding(x), self.covering(x[0].numel()).eps))

    def scaled(self, factor: float) -> Self:
        """The same ball, ``factor`` times as large (for schedules and accuracy-against-eps curves)."""
        return replace(self, eps=self.eps * factor)

    def pattern(self, x: Float[Tensor, "batch channels height width"], draw: Draw) -> Float[Tensor, "batch channels height width"]:
        """Where the Square Attack begins: every column of every channel moved up or down."""
        stripes = signs(draw(x.shape[1] * x.shape[3])).view(-1, x.shape[1], 1, x.shape[3]).expand_as(x)
        return self.project(x + self.eps * self.ascent(stripes), x)

    def patch(
        self, x_adv: Float[Tensor, "batch channels height width"], x: Float[Tensor, "batch channels height width"], side: int, draw: Draw
    ) -> Float[Tensor, "batch channels height width"]:
        """A proposal of the Square Attack: ``2 eps`` up or down, by channel, in a square of ``side`` at a random place.

        Source: Andriushchenko et al. 2020, arXiv 1912.00049, algorithm 2.
        """
        numbers = draw(2 + x.shape[1])
        rows, columns = window(numbers[:, :2], side, x)
        square = signs(numbers[:, 2:, None, None]) * (rows >= 0) * (columns >= 0)
        return self.project(x_adv + 2 * self.eps * self.ascent(square), x)


@dataclass(frozen=True)
class Linf(Threat):
    """All images within ``eps`` of the original in every pixel, inside the box [0, 1].

    Args:
        eps: radius, in [0, 1] pixel scale (on the command line also ``8/255``); ``InputError`` outside [0, 1].

    Source: arXiv 1803.06373, section 2 (all perturbations there are L-infinity).
    """

    fills_box: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps > 1:
            raise InputError(f"eps must be at most 1, a pixel's whole range, not {self.eps:g}; for one in 1/255 write {self.eps:g}/255")

    def project(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        return torch.clamp(x_adv, *self.box(x))

    def random_start(self, x: Float[Tensor, "batch ..."], generator: RandomSource | None) -> Float[Tensor, "batch ..."]:
        return self.project(x + self.eps * (2 * uniform_like(x, generator) - 1), x)

    def ascent(self, gradient: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        return gradient.sign()

    def distance(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        return (x_adv - x).abs().flatten(1).amax(1)

    def rounding(self, x: Float[Tensor, "batch ..."]) -> float:
        return 2 * torch.finfo(x.dtype).eps

    def eight_bit(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        rounding = 255 * self.rounding(x)
        low = (255 * (x - self.eps) - rounding).ceil_().clamp_(min=0)
        high = (255 * (x + self.eps) + rounding).floor_().clamp_(max=255)
        return torch.clamp((255 * x_adv).round_(), low, high) / 255

    def support(self, weights: Float[Tensor, "... values"]) -> Float[Tensor, "..."]:
        return self.eps * weights.abs().sum(-1)

    def covering(self, values: int) -> Self:
        return replace(self, eps=1.0)


@dataclass(frozen=True)
class L2(Threat):
    """All images within Euclidean distance ``eps`` of the original, over all pixels and channels, inside the box [0, 1].

    Args:
        eps: radius, at least 0: the root of the summed squares of the changes in [0, 1] pixel scale, such as 0.5 for CIFAR-10.
    """

    def project(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        nearest = x_adv.clamp(0, 1)
        outside = (~self.contains(nearest, x)).nonzero().squeeze(1)
        if len(outside):
            nearest[outside] = self._on_the_sphere(x_adv[outside], x[outside])
        return nearest

    def _on_the_sphere(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """``project`` where the box alone does not keep ``x_adv`` in the ball.

        The nearest point is ``x + t (x_adv - x)``, clipped to the box, with the ``t`` of each image that gives it the length ``eps``
        (Karush, Kuhn, Tucker; ``1 / t - 1`` is the ball's multiplier). The squared length is concave and piecewise linear in ``t`` squared,
        so that Newton's method from below meets one wall after another and ends at the root itself.
        """
        most = torch.finfo(x.dtype).max
        move = (x_adv - x).clamp_(-most, most)
        move /= move.abs().amax(tuple(range(1, x.ndim)), keepdim=True).clamp_min(1)  # or the squares of a long one would be infinite
        moved, wall = move.square().flatten(1), torch.where(move > 0, 1 - x, x).square().flatten(1)

        def root(at_wall: Bool[Tensor, "batch values"]) -> Float[Tensor, "batch 1"]:
            walls, free = torch.where(at_wall, wall, 0), torch.where(at_wall, 0, moved)
            return ((self.eps**2 - walls.sum(1, keepdim=True)) / free.sum(1, keepdim=True)).clamp_(max=most)

        squared = root(torch.zeros_like(moved, dtype=torch.bool))
        while bool(((further := root(squared * moved > wall)) > squared).any()):
            squared = torch.maximum(squared, further)
        t = squared.sqrt().view(-1, *[1] * (x.ndim - 1))
        return (x + t * move).clamp_(0, 1)

    def random_start(self, x: Float[Tensor, "batch ..."], generator: RandomSource | None) -> Float[Tensor, "batch ..."]:
        direction = self.ascent(normal_like(x, generator))
        radius = self.eps * uniform_like(x.flatten(1)[:, 0], generator) ** (1 / x[0].numel())
        return self.project(x + radius.view(-1, *[1] * (x.ndim - 1)) * direction, x)

    def ascent(self, gradient: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        gradient, values = gradient.nan_to_num(), tuple(range(1, gradient.ndim))
        largest = gradient.abs().amax(values, keepdim=True)
        scaled = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)  # or the squares of a tiny gradient would be 0
        return scaled / torch.linalg.vector_norm(scaled, dim=values, keepdim=True).clamp_min(1)

    def distance(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
        squares = (x_adv - x).flatten(1).double().square()  # their sum is by halves, and so exact where vector_norm's is not
        return squares.sum(1).sqrt().to(x.dtype)

    def rounding(self, x: Float[Tensor, "batch ..."]) -> float:
        return torch.finfo(x.dtype).eps * (self.eps + x[0].numel() ** 0.5) if len(x) else 0.0

    def eight_bit(self, x_adv: Float[Tensor, "batch ..."], x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """``x_adv`` as an image file would hold it, see ``Threat``: each value the nearest multiple of 1/255.

        Where these leave the ball, values take the multiple on the side of ``x`` instead: first those that bring the image back most for
        what they move it from ``x_adv``.
        """
        levels, clean = (255 * images.flatten(1) for images in (x_adv, x))
        nearest, inner = levels.round(), torch.where(levels > clean, levels.floor(), levels.ceil())
        length = (nearest - clean).square()
        gain = (length - (inner - clean).square()).clamp_(min=0)  # 0 too where x lies between the two multiples and nearer to the first
        cost = (inner - levels).square() - (nearest - levels).square()
        order = (cost / gain).argsort(1)  # where the gain is 0 the ratio is infinite or NaN, which come last
        gained = gain.gather(1, order).cumsum(1, dtype=torch.float64)
        excess = length.sum(1, keepdim=True, dtype=torch.float64) - (255 * self.eps) ** 2
        needed = torch.zeros_like(gain, dtype=torch.bool).scatter(1, order, gained - gain.gather(1, order) < excess)
        return (torch.where(needed & (gain > 0), inner, nearest) / 255).view_as(x)

    def support(self, weights: Float[Tensor, "... values"]) -> Float[Tensor, "..."]:
        return self.eps * torch.linalg.vector_norm(weights, dim=-1)

    def covering(self, values: int) -> Self:
        return replace(self, eps=values**0.5)

    def pattern(self, x: Float[Tensor, "batch channels height width"], draw: Draw) -> Float[Tensor, "batch channels height width"]:
        """Where the Square Attack begins: every channel moved by tiles of a fifth of the height, each a bump up beside one down.

        Source: Andriushchenko et al. 2020, arXiv 1912.00049, section 4.2. Departs from it in that the tiles begin at a corner of the image
        and all lie alike.
        """
        (channels, height, width), side = x.shape[1:], max(1, x.shape[2] // 5)
        of_row, of_column = (torch.arange(length, device=x.device) // side for length in (height, width))
        tiles = (int(of_row[-1]) + 1, int(of_column[-1]) + 1)
        of_tile = signs(draw(channels * tiles[0] * tiles[1])).view(-1, channels, *tiles)[:, :, of_row[:, None], of_column[None, :]]
        tiling = bumps(side, x).repeat(tiles)[:height, :width]
        return self.project(x + self.eps * self.ascent(of_tile * tiling), x)

    def patch(
        self, x_adv: Float[Tensor, "batch channels height width"], x: Float[Tensor, "batch channels height width"], side: int, draw: Draw
    ) -> Float[Tensor, "batch channels height width"]:
        """A proposal of the Square Attack: what one random square is changed by goes into bumps in another, with what was left of ``eps``.

        Source: Andriushchenko et al. 2020, arXiv 1912.00049, algorithm 3; squares have a side of 3 at least.
        """
        side = min(max(side, 3), *x.shape[2:])
        numbers = draw(5 + x.shape[1])
        (rows, columns), given = window(numbers[:, :2], side, x), window(numbers[:, 2:4], side, x)
        into, out = ((r >= 0) & (c >= 0) for r, c in ((rows, columns), given))
        bump, change = bumps(side, x), x_adv - x
        turned = torch.where(numbers[:, 4, None, None, None] < 0.5, bump[rows, columns], bump[columns, rows])
        mixed = self._unit(self._unit(signs(numbers[:, 5:, None, None]) * turned * into) + self._unit(change * into))
        unused = (self.eps**2 - change.square().sum((1, 2, 3), keepdim=True)).clamp_(min=0) / x.shape[1]
        length = ((change * (into | out)).square().sum((2, 3), keepdim=True) + unused).sqrt()
        return self.project(x + torch.where(into, length * mixed, change * ~out), x)

    def _unit(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """Every channel at Euclidean length 1, or at 0."""
        return self.ascent(images.flatten(0, 1)).view_as(images)


AnyThreat = Linf | Threat  # what a setting may be; Linf comes first, so that ``threat: {eps: 0.1}`` in a recipe is one


def check_threat(threat: object) -> None:
    """Refuse what is no threat model, such as a number, with an ``InputError``."""
    instance("threat", threat, Threat, "a threat model such as lp.Linf(eps=8/255)")


def signs(draw: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """-1 or 1 for each uniform number, by the toss of a coin."""
    return torch.where(draw < 0.5, -torch.ones_like(draw), torch.ones_like(draw))


def window(
    draw: Float[Tensor, "batch 2"], side: int, x: Float[Tensor, "batch channels height width"]
) -> tuple[Int[Tensor, "batch 1 height 1"], Int[Tensor, "batch 1 1 width"]]:
    """The row and the column of every pixel within a square of ``side`` that begins anywhere it fits; -1 outside."""
    positions: list[Tensor] = []
    for i, length in enumerate(x.shape[2:]):
        first = (draw[:, i] * (length - side + 1)).long()[:, None]  # below length - side + 1, since draw is below 1
        position = torch.arange(length, device=x.device) - first
        positions.append(torch.where((position >= 0) & (position < side), position, -1))
    return positions[0][:, None, :, None], positions[1][:, None, None, :]


def bumps(side: int, x: Tensor) -> Float[Tensor, "side side"]:
    """A bump up in the upper half of a square, one down in the lower: each falls off from its middle by the tails of sum 1 / k^2."""
    halves: list[Tensor] = []
    for height in (side // 2, side - side // 2):
        from_row, from_column = ((torch.arange(length) - length // 2).abs() for length in (height, side))
        away = torch.maximum(from_row[:, None], from_column[None, :])
        squares = torch.arange(max(height, side) // 2 + 1, 0, -1, dtype=torch.float64) ** -2
        halves.append(squares.cumsum(0).flip(0)[away])
    up, down = (half / half.norm() for half in halves)
    return torch.cat([up, -down]).to(x)
