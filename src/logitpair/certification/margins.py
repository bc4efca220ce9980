"""A lower bound on the margin of every image of a batch, by methods from cheap to expensive."""

import math

import torch
from torch import Tensor

from logitpair.bounds.ball import Ball
from logitpair.bounds.graph import Graph
from logitpair.bounds.interval import intervals
from logitpair.bounds.linear import lower_bounds, tightened
from logitpair.bounds.optimized_slopes import optimized_lower_bounds
from logitpair.threat import Threat

ROUNDING = 1e-4  # times 1 + the largest logit: what a bound must exceed, far above what float32 does to logits
BYTES = 2**28  # that the linear functions of one layer take at most
ROWS = 64  # linear functions of an image that are held at once, at the least


def margin_bounds(graph: Graph, threat: Threat, x: Tensor, y: Tensor, logits: Tensor, method: str, iterations: int) -> Tensor:
    """Lower bounds of the smallest difference between the true class's logit and another's over the ball and the box, ``[batch]``.

    Args:
        graph: the network, in float64.
        threat: the ball.
        x: images, float64 ``[batch, channels, height, width]``.
        y: labels, ``[batch]``.
        logits: of the images.
        method: one of ``storage.results.CERTIFICATE_METHODS``.
        iterations: of the slopes' ascent.

    Returns:
        The bounds, less ``ROUNDING`` times one more than the largest logit: an image is certified where they are above 0.
    """
    rounding = ROUNDING * (1 + logits.abs().amax(1))
    if method == "ibp":
        return _bounds(graph, threat, x, y, logits.shape[1], method, iterations, rounding)
    largest = max(math.prod(shape) for shape in graph.shapes)
    size = max(1, BYTES // (max(ROWS, logits.shape[1]) * largest * x.element_size()))
    parts = zip(x.split(size), y.split(size), rounding.split(size), strict=True)
    return torch.cat([_bounds(graph, threat, part, labels, logits.shape[1], method, iterations, least) for part, labels, least in parts])


def _bounds(graph: Graph, threat: Threat, x: Tensor, y: Tensor, classes: int, method: str, iterations: int, rounding: Tensor) -> Tensor:
    """``margin_bounds`` of images that are bounded together."""
    ball = Ball(threat, x)
    rows = differences(y, classes, x)
    inside = tightened(graph, ball) if method in ("crown", "alpha-crown") else intervals(graph, ball.box)
    if method == "alpha-crown":
        found = optimized_lower_bounds(graph, rows, inside, ball, iterations=iterations, enough=rounding.unsqueeze(1))
    else:
        found = lower_bounds(graph, rows, inside, ball, affine_only=method == "ibp")
    return found.amin(1) - rounding


def differences(y: Tensor, classes: int, like: Tensor) -> Tensor:
    """The linear functions of the logits that are the true class's less each other's, ``[batch, classes - 1, classes]``."""
    identity = torch.eye(classes, dtype=like.dtype, device=like.device)
    others = torch.arange(classes - 1, device=y.device).expand(len(y), -1)
    return identity[y].unsqueeze(1) - identity[others + (others >= y.unsqueeze(1))]
