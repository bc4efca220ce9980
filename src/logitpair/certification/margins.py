"""A lower bound on the margin of every image of a batch, by methods from cheap to expensive."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from logitpair.bounds.ball import Ball
from logitpair.bounds.branch_and_bound import decided_by_branching
from logitpair.bounds.graph import Graph
from logitpair.bounds.interval import intervals
from logitpair.bounds.linear import lower_bounds, tightened
from logitpair.bounds.optimized_slopes import improved
from logitpair.bounds.subproblems import Relaxation, Subproblems
from logitpair.runtime import clock
from logitpair.storage.results import CERTIFICATE_METHODS
from logitpair.threat import Threat

ROUNDING = 1e-4  # times 1 + the largest logit: what a bound must exceed, far above what float32 does to logits
BYTES = 2**28  # that the linear functions of one layer take at most, and the graph of an ascent on subproblems
ROWS = 64  # linear functions of an image that are held at once, at the least
STAGES = (CERTIFICATE_METHODS[:1], CERTIFICATE_METHODS[1:2], CERTIFICATE_METHODS[2:])  # methods of a stage share what they find on the way


@dataclass(frozen=True)
class Effort:
    """How much is tried: steps of the slopes' ascent, and parts of an image's ball that are bounded at most."""

    iterations: int
    branches: int


def margin_bounds(
    exact: Graph, quick: Graph | None, threat: Threat, x: Tensor, y: Tensor, logits: Tensor, methods: tuple[str, ...], effort: Effort
) -> tuple[Tensor, list[float]]:
    """Lower bounds of the smallest difference between the true class's logit and another's over the ball and the box.

    Args:
        exact: the network, in float64.
        quick: the same in float32, which slopes are sought with; None where none are.
        threat: the ball.
        x: images, float64 ``[batch, channels, height, width]``.
        y: labels, ``[batch]``.
        logits: of the images.
        methods: of one stage.
        effort: of the last methods.

    Returns:
        The bounds by each method, ``[methods, batch]``, less ``ROUNDING`` times one more than the largest logit: an image is certified
        where they are above 0; where one method was enough, the next give no lower bound. And the seconds that each of them took.
    """
    enough = ROUNDING * (1 + logits.abs().amax(1))
    size = max(len(x), 1)
    if methods != STAGES[0]:
        largest = max(math.prod(shape) for shape in exact.shapes)
        size = max(1, BYTES // (max(ROWS, logits.shape[1]) * largest * x.element_size()))
    found, seconds = [], [0.0] * len(methods)
    for images, labels, least in zip(x.split(size), y.split(size), enough.split(size), strict=True):
        bounds = _Bounds(exact, quick, Ball(threat, images), differences(labels, logits.shape[1], x), least, effort)
        by_method = []
        for number, method in enumerate(methods):
            began = clock.now(x.device)
            by_method.append(bounds.by(method) - least)
            seconds[number] += clock.now(x.device) - began
        found.append(torch.stack(by_method))
    return torch.cat(found, 1), seconds


@dataclass(frozen=True, eq=False)
class _Bounds:
    """The bounds of images that are worked on together, ``[batch]`` of each method; what several need is found once."""

    exact: Graph
    quick: Graph | None
    ball: Ball
    rows: Tensor
    enough: Tensor
    effort: Effort

    def by(self, method: str) -> Tensor:
        match method:
            case "ibp" | "crown-ibp":
                inside = intervals(self.exact, self.ball.box)
                return lower_bounds(self.exact, self.rows, inside, self.ball, affine_only=method == "ibp").amin(1)
            case "crown":
                return self.crown.amin(1)
            case "alpha-crown":
                return self.alpha_crown.amin(1)
            case _:
                return self.beta_crown

    @cached_property
    def relaxation(self) -> Relaxation:
        inside = tightened(self.exact, self.ball)
        return Relaxation(self.exact, self.ball, {step: inside[step] for step in self.exact.nonlinear_inputs})

    @cached_property
    def quick_relaxation(self) -> Relaxation:
        if self.quick is None:
            raise ValueError("slopes are sought in float32")
        return self.relaxation.of(self.quick)

    @cached_property
    def crown(self) -> Tensor:
        return lower_bounds(self.exact, self.rows, self.relaxation.inside, self.ball)

    @cached_property
    def optimised(self) -> tuple[Tensor, Subproblems]:
        """The places of the functions whose bounds are not enough, among all of the batch, and these after the ascent."""
        places = (~(self.crown > self.enough.unsqueeze(1))).flatten().nonzero()[:, 0]
        left = Subproblems.whole(self.relaxation, self.rows, self.crown, places)
        parts = [
            improved(self.relaxation, self.quick_relaxation, part, self.enough[part.image], self.effort.iterations)
            for part in left.split(max(1, BYTES // (64 * self.values)))  # an ascent keeps a few tensors of every step's size
        ]
        return places, Subproblems.joined([left[:0], *parts])

    @cached_property
    def alpha_crown(self) -> Tensor:
        places, left = self.optimised
        return self.crown.flatten().scatter(0, places, left.bound).view_as(self.crown)

    @cached_property
    def beta_crown(self) -> Tensor:
        _, left = self.optimised
        branched = torch.full_like(self.enough, torch.inf)
        at_once = max(1, BYTES // (4 * self.values * self.effort.branches))  # images, of which all parts are held
        for first in range(0, len(self.enough), at_once):
            some = left[(left.image >= first) & (left.image < first + at_once)]
            options = {"branches": self.effort.branches, "width": max(1, BYTES // (64 * self.values))}
            found = decided_by_branching(self.relaxation, self.quick_relaxation, some, self.enough, **options)
            branched = torch.minimum(branched, found)
        others = torch.where(self.alpha_crown > self.enough.unsqueeze(1), self.alpha_crown, torch.inf).amin(1)
        return torch.maximum(self.alpha_crown.amin(1), torch.minimum(branched, others))

    @property
    def values(self) -> int:
        """Numbers that an image's steps have in all."""
        return sum(math.prod(shape) for shape in self.exact.shapes)


def differences(y: Tensor, classes: int, like: Tensor) -> Tensor:
    """The linear functions of the logits that are the true class's less each other's, ``[batch, classes - 1, classes]``."""
    identity = torch.eye(classes, dtype=like.dtype, device=like.device)
    others = torch.arange(classes - 1, device=y.device).expand(len(y), -1)
    return identity[y].unsqueeze(1) - identity[others + (others >= y.unsqueeze(1))]
