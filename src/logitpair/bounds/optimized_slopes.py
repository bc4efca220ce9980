"""Linear bounds with the slopes below each ReLU chosen by gradient ascent on the bound (alpha-CROWN, arXiv 2011.13824)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from logitpair.bounds.ball import Ball
from logitpair.bounds.graph import Graph
from logitpair.bounds.linear import lower_bounds
from logitpair.bounds.operations import Interval, LeakyReLU

LEARNING_RATE, DECAY = 0.25, 0.97  # of Adam on the slopes, and of the rate at every iteration


def optimized_lower_bounds(
    graph: Graph, rows: Tensor, inside: Sequence[Interval], ball: Ball, *, iterations: int, enough: Tensor
) -> Tensor:
    """The largest bounds that ``lower_bounds`` gives by its own slopes and after each of ``iterations`` steps from them, ``[batch, n]``.

    Each example and each function has slopes of its own, so that no bound depends on what it is computed with. It ends early for
    an example whose bounds are all above ``enough``, ``[batch, 1]``. The intervals of inner steps are taken as they are, which the source
    optimises too.
    """
    slopes = {
        number: _initial(inside[step.inputs[0]]).unsqueeze(1).repeat(1, rows.shape[1], *[1] * len(graph.shapes[number])).requires_grad_()
        for number, step in enumerate(graph.steps, 1)
        if isinstance(step.operation, LeakyReLU)
    }
    if not slopes:
        return lower_bounds(graph, rows, inside, ball)
    best = rows.new_full(rows.shape[:2], -torch.inf)
    optimizer = torch.optim.Adam(slopes.values(), lr=LEARNING_RATE)
    for iteration in range(iterations + 1):
        with torch.set_grad_enabled(iteration < iterations):
            bounds = lower_bounds(graph, rows, inside, ball, slopes=slopes)
        left = (best <= enough).any(1, keepdim=True)
        best = torch.where(left, torch.maximum(best, bounds.detach()), best)
        if iteration == iterations or not (best <= enough).any():
            break
        gradients = torch.autograd.grad(bounds, list(slopes.values()), -torch.ones_like(bounds))
        for slope, gradient in zip(slopes.values(), gradients, strict=True):
            slope.grad = gradient
        optimizer.step()
        for slope in slopes.values():
            slope.data.clamp_(0, 1)
        for group in optimizer.param_groups:
            group["lr"] *= DECAY
    return best


def _initial(inputs: Interval) -> Tensor:
    """What ``relax`` chooses by itself."""
    return (inputs.upper > -inputs.lower).to(inputs.lower.dtype)
