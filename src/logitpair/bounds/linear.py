"""Bounds by linear functions, propagated backwards from what is asked to the image (CROWN, arXiv 1811.00866)."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from logitpair.bounds.ball import Ball
from logitpair.bounds.graph import Graph
from logitpair.bounds.interval import intervals
from logitpair.bounds.operations import Affine, Interval, MaxPool2d, Nonlinear

Slopes = Mapping[int, Tensor]  # by step of a nonlinear operation: from 0 to 1, ``[batch, n, *input]``, as ``Nonlinear.relax`` takes them
ROWS_BYTES = 2**28  # of the largest tensor of linear functions that is held at once


def lower_bounds(
    graph: Graph,
    rows: Tensor,
    inside: Sequence[Interval],
    ball: Ball,
    *,
    at: int | None = None,
    slopes: Slopes | None = None,
    affine_only: bool = False,
) -> Tensor:
    """Lower bounds of linear functions of a step's value over all images, ``[batch, n]``.

    Args:
        graph: the network.
        rows: the functions, ``[batch, n, *value]``.
        inside: intervals of the steps before, as ``intervals`` gives them.
        ball: the images.
        at: the step; the logits if None.
        slopes: of the lines below each nonlinear operation; chosen where none are given.
        affine_only: go back to the first nonlinear operations only and take the intervals of their values: the interval bound, with
            the last affine operations and ``rows`` merged into one.
    """
    at = graph.logits if at is None else at
    batch, n = rows.shape[:2]
    pending, bound = {at: rows}, rows.new_zeros(batch, n)
    for number in range(at, -1, -1):
        if (rows := pending.pop(number, None)) is None:  # type: ignore[assignment]
            continue
        if number == 0:
            return bound + ball.minimum(rows)
        step = graph.steps[number - 1]
        if affine_only and isinstance(step.operation, Nonlinear):
            lower, upper = inside[number]
            below = rows.clamp(min=0) * lower.unsqueeze(1) + rows.clamp(max=0) * upper.unsqueeze(1)
            bound = bound + below.flatten(2).sum(2)
            continue
        if isinstance(step.operation, Affine):
            shapes = [graph.shapes[source] for source in step.inputs]
            constant = step.operation.center(*[rows.new_zeros(1, *shape) for shape in shapes])
            bound = bound + (rows * constant.unsqueeze(1)).flatten(2).sum(2)
            back = [each.unflatten(0, (batch, n)) for each in step.operation.transpose(rows.flatten(0, 1), shapes)]
        else:
            into, constant = step.operation.relax(rows, inside[step.inputs[0]], (slopes or {}).get(number))
            bound, back = bound + constant, [into]
        for source, each in zip(step.inputs, back, strict=True):
            pending[source] = pending[source] + each if source in pending else each
    return bound


def tightened(graph: Graph, ball: Ball) -> list[Interval]:
    """The intervals of all steps; before nonlinear operations by linear bounds, wherever zero lies inside or a maximum is taken.

    Sound, and within those of ``intervals`` everywhere.
    """
    known: dict[int, Interval] = {}
    exact = graph.exact if ball.threat.fills_box else set[int]()
    for number in sorted(set(graph.nonlinear_inputs) - exact):
        inside = intervals(graph, ball.box, known, last=number)
        known[number] = _tightened_at(graph, inside, ball, number)
    return intervals(graph, ball.box, known)


def _tightened_at(graph: Graph, inside: Sequence[Interval], ball: Ball, number: int) -> Interval:
    """The interval of one step by linear bounds, where it matters."""
    lower, upper = (bound.flatten(1).clone() for bound in inside[number])
    matters = torch.ones_like(lower, dtype=torch.bool) if _feeds_a_maximum(graph, number) else (lower < 0) & (upper > 0)
    batch, size = lower.shape
    most = int(matters.sum(1).max())
    order = matters.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]  # the same number of neurons in every example
    if not most:
        return inside[number]
    largest = max(math.prod(shape) for shape in graph.shapes[: number + 1])
    for chosen in order.split(max(1, ROWS_BYTES // (batch * largest * lower.element_size())), 1):
        rows = lower.new_zeros(batch, chosen.shape[1], size).scatter_(2, chosen.unsqueeze(2), 1).unflatten(2, graph.shapes[number])
        below = lower_bounds(graph, rows, inside, ball, at=number)
        above = -lower_bounds(graph, -rows, inside, ball, at=number)
        here = matters.gather(1, chosen)  # of an example with fewer, the others stay: no bound depends on the rest of the batch
        lower.scatter_(1, chosen, torch.where(here, below, -torch.inf).maximum(lower.gather(1, chosen)))
        upper.scatter_(1, chosen, torch.where(here, above, torch.inf).minimum(upper.gather(1, chosen)))
    return Interval(lower.view_as(inside[number].lower), upper.view_as(inside[number].upper))


def _feeds_a_maximum(graph: Graph, number: int) -> bool:
    return any(isinstance(step.operation, MaxPool2d) and number in step.inputs for step in graph.steps)
