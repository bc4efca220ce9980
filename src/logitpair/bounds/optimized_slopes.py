"""Linear bounds whose slopes and multipliers are chosen by gradient ascent on the bound (alpha- and beta-CROWN)."""

from dataclasses import replace

import torch
from torch import Tensor

from logitpair.bounds.subproblems import PerStep, Relaxation, Subproblems

LEARNING_RATE, DECAY = 0.1, 0.97  # of Adam, and of the rate at every iteration
SURELY = 0.05  # more than what is enough: such a bound in float32 is likely to be enough in float64 too


def improved(exact: Relaxation, quick: Relaxation, subproblems: Subproblems, enough: Tensor, iterations: int) -> Subproblems:
    """The subproblems with the best slopes and multipliers of so many steps from their own, and the bounds by these; never lower ones.

    Each subproblem has slopes of its own, so that up to float32's rounding no bound depends on what it is computed with. One whose bound
    is above ``enough``, ``[n]``, stays as it is. The search is in float32, by ``quick``; the bounds are those of ``exact``.

    Args:
        exact: what bounds are computed with.
        quick: the same in float32.
        subproblems: ``n`` of them.
        enough: a bound that is large enough of each, ``[n]``.
        iterations: steps of Adam.

    Sources: arXiv 2011.13824, section 3; arXiv 2103.06624, section 3. Departure: the intervals of inner steps are taken as they are,
    which the first source optimises too.
    """
    if not subproblems.slopes:
        return subproblems
    free = {name: _variables(getattr(subproblems, name)) for name in ("slopes", "multipliers")}
    chosen = {name: {step: variable.detach().clone() for step, variable in each.items()} for name, each in free.items()}
    pairs = [(variable, chosen[name][step]) for name, each in free.items() for step, variable in each.items()]
    variables = [variable for variable, _ in pairs]
    best, least = torch.full_like(enough, -torch.inf, dtype=torch.float32), enough.float() * (1 + SURELY * enough.sign().float())
    optimizer = torch.optim.Adam(variables, lr=LEARNING_RATE)
    for iteration in range(iterations + 1):
        with torch.set_grad_enabled(iteration < iterations):
            bounds = quick.bounds(replace(subproblems, **free))
        better = (bounds > best) & (best <= least)
        best = torch.where(better, bounds.detach(), best)
        for variable, kept in pairs:
            kept[better] = variable.detach()[better]
        left = best <= least
        if iteration == iterations or not left.any():
            break
        for variable, gradient in zip(variables, torch.autograd.grad(bounds, variables, -left.float()), strict=True):
            variable.grad = gradient
        optimizer.step()
        for name, most in (("slopes", 1), ("multipliers", None)):
            for variable in free[name].values():
                variable.data.clamp_(0, most)
        for group in optimizer.param_groups:
            group["lr"] *= DECAY
    subproblems = replace(subproblems, **chosen)
    with torch.no_grad():
        return replace(subproblems, bound=torch.maximum(subproblems.bound, exact.bounds(subproblems)))


def _variables(tensors: PerStep) -> PerStep:
    return {step: tensor.clone().requires_grad_() for step, tensor in tensors.items()}
