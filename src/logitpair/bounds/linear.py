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
PROBES, WORTH = 8, 0.01  # neurons of a layer by which it is seen whether linear bounds make its intervals narrower by this share


def lower_bounds(
    graph: Graph,
    rows: Tensor,
    inside: Sequence[Interval] | Mapping[int, Interval],
    ball: Ball,
    *,
    at: int | None = None,
    slopes: Slopes | None = None,
    added: Mapping[int, Tensor] | None = None,
    seen: dict[int, Tensor] | None = None,
    affine_only: bool = False,
) -> Tensor:
    """Lower bounds of linear functions of a step's value over all images, ``[batch, n]``.

    Args:
        graph: the network.
        rows: the functions, ``[batch, n, *value]``.
        inside: intervals of the steps before, as ``intervals`` gives them; ``affine_only`` aside, those of ``nonlinear_inputs`` will do.
        ball: the images.
        at: the step; the logits if None.
        slopes: of the lines below each nonlinear operation; chosen where none are given.
        added: functions of other steps' values, by step, ``[batch, n, *value]``, that are added on the way.
        seen: receives the functions that each step's value is bounded by, so written.
        affine_only: go back to the first nonlinear operations only and take the intervals of their values: the interval bound, with
            the last affine operations and ``rows`` merged into one.
    """
    at = graph.logits if at is None else at
    batch, n = rows.shape[:2]
    pending, bound = {at: rows}, rows.new_zeros(batch, n)
    for number in range(at, -1, -1):
        if (rows := pending.pop(number, None)) is None:  # type: ignore[assignment]
            continue
        if added and number in added:
            rows = rows + added[number]
        if seen is not None:
            seen[number] = rows
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

    Sound, and within those of ``intervals`` everywhere. Of a layer where a few neurons show that linear bounds are hardly tighter, as in
    networks that were trained by intervals, the others keep their intervals.
    """
    known: dict[int, Interval] = {}
    exact = graph.exact if ball.threat.fills_box else set[int]()
    for number in sorted(set(graph.nonlinear_inputs) - exact):
        inside = intervals(graph, ball.box, known, last=number)
        known[number] = _tightened_at(graph, inside, ball, number)
    return intervals(graph, ball.box, known)


def _tightened_at(graph: Graph, inside: Sequence[Interval], ball: Ball, number: int) -> Interval:
    """The interval of one step by linear bounds, where it matters and where the first of them show that it is worth it."""
    found = Interval(*(bound.flatten(1).clone() for bound in inside[number]))
    matters = torch.ones_like(found.lower, dtype=torch.bool) if _feeds_a_maximum(graph, number) else (found.lower < 0) & (found.upper > 0)
    mixed = torch.randperm(matters.shape[1], generator=torch.Generator().manual_seed(0)).to(matters.device)
    order = mixed[matters[:, mixed].to(torch.uint8).argsort(dim=1, descending=True, stable=True)]
    _narrow(graph, inside, ball, number, found, order[:, : min(PROBES, int(matters.sum(1).max()))], matters)
    before, after = ((interval.width.flatten(1) * matters).gather(1, order[:, :PROBES]).sum(1) for interval in (inside[number], found))
    worth = (after < (1 - WORTH) * before).nonzero()[:, 0]
    if len(worth):
        some = [Interval(*(bound[worth] for bound in interval)) for interval in inside]
        rest, matters = Interval(*(bound[worth] for bound in found)), matters[worth]
        _narrow(graph, some, Ball(ball.threat, ball.x[worth]), number, rest, order[worth, PROBES : int(matters.sum(1).max())], matters)
        for whole, part in zip(found, rest, strict=True):
            whole[worth] = part
    return Interval(*(bound.view_as(inside[number].lower) for bound in found))


def _narrow(graph: Graph, inside: Sequence[Interval], ball: Ball, number: int, found: Interval, neurons: Tensor, matters: Tensor) -> None:
    """Narrow ``found``, of ``[batch, values]``, at these neurons, ``[batch, n]``, by linear bounds within ``inside``."""
    lower, upper = found
    batch, size = lower.shape
    largest = max(math.prod(shape) for shape in graph.shapes[: number + 1])
    for chosen in neurons.split(max(1, ROWS_BYTES // (batch * largest * lower.element_size())), 1) if neurons.numel() else ():
        rows = lower.new_zeros(batch, chosen.shape[1], size).scatter_(2, chosen.unsqueeze(2), 1).unflatten(2, graph.shapes[number])
        below = lower_bounds(graph, rows, inside, ball, at=number)
        above = -lower_bounds(graph, -rows, inside, ball, at=number)
        here = matters.gather(1, chosen)  # of an example with fewer, the others stay: no bound depends on the rest of the batch
        lower.scatter_(1, chosen, torch.where(here, below, -torch.inf).maximum(lower.gather(1, chosen)))
        upper.scatter_(1, chosen, torch.where(here, above, torch.inf).minimum(upper.gather(1, chosen)))


def _feeds_a_maximum(graph: Graph, number: int) -> bool:
    return any(isinstance(step.operation, MaxPool2d) and number in step.inputs for step in graph.steps)
