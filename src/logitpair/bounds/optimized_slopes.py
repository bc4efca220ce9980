"""Linear bounds whose slopes and multipliers are chosen by gradient ascent on the bound (alpha- and beta-CROWN)."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from logitpair.bounds.subproblems import PerStep, Relaxation, Subproblems

LEARNING_RATE, DECAY = 0.1, 0.97  # of Adam, and of the rate at every iteration
SURELY = 1e-5  # above what is enough, a bound in float32 is likely to be enough in float64 too


def improved(exact: Relaxation, quick: Relaxation, subproblems: Subproblems, enough: Tensor, iterations: int) -> Subproblems:
    """The subproblems with the best slopes and multipliers of so many steps from their own, and the bounds by these; never lower ones.

    Each subproblem has slopes of its own, so that no bound depends on what it is computed with. One whose bound is above ``enough``,
    ``[n]``, stays as it is. The search is in float32, by ``quick``; the bounds are those of ``exact``.

    Sources: arXiv 2011.13824, section 3; arXiv 2103.06624, section 3.2. Departure: the intervals of inner steps are taken as they are,
    which the first source optimises too.
    """
    slopes, multipliers = _variables(subproblems.slopes), _variables(subproblems.multipliers)
    variables = [*slopes.values(), *multipliers.values()]
    if not slopes:
        return subproblems
    best, least = torch.full_like(enough, -torch.inf, dtype=torch.float32), enough.float() + SURELY
    chosen = [variable.detach().clone() for variable in variables]
    optimizer = torch.optim.Adam(variables, lr=LEARNING_RATE)
    for iteration in range(iterations + 1):
        with torch.set_grad_enabled(iteration < iterations):
            bounds = quick.bounds(subproblems, slopes, multipliers)
        better = (bounds > best) & (best <= least)
        best = torch.where(better, bounds.detach(), best)
        for variable, kept in zip(variables, chosen, strict=True):
            kept[better] = variable.detach()[better]
        left = best <= least
        if iteration == iterations or not left.any():
            break
        for variable, gradient in zip(variables, torch.autograd.grad(bounds, variables, -left.float()), strict=True):
            variable.grad = gradient
        optimizer.step()
        _clamp(slopes.values(), 0, 1)
        _clamp(multipliers.values(), 0, None)
        for group in optimizer.param_groups:
            group["lr"] *= DECAY
    found = (dict(zip(names, chosen[start:], strict=False)) for names, start in ((slopes, 0), (multipliers, len(slopes))))
    subproblems = replace(subproblems, **dict(zip(("slopes", "multipliers"), found, strict=True)))
    with torch.no_grad():
        return replace(subproblems, bound=torch.maximum(subproblems.bound, exact.bounds(subproblems)))


def _variables(tensors: PerStep) -> PerStep:
    return {step: tensor.clone().requires_grad_() for step, tensor in tensors.items()}


def _clamp(tensors: Iterable[Tensor], least: float, most: float | None) -> None:
    for tensor in tensors:
        tensor.data.clamp_(least, most)
