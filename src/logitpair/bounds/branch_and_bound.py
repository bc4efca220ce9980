"""Branch and bound: a ball is cut in two at a ReLU, on one side of 0 or the other, until every part is decided."""

from dataclasses import replace

import torch
from torch import Tensor

from logitpair.bounds.optimized_slopes import improved
from logitpair.bounds.subproblems import Relaxation, Subproblems

ITERATIONS = 10  # of the ascent on each part
CANDIDATES = 4  # ReLUs that are tried before a part is cut at the best of them


def decided_by_branching(
    exact: Relaxation, quick: Relaxation, subproblems: Subproblems, enough: Tensor, *, branches: int, width: int
) -> Tensor:
    """For each image the least bound of all parts of its ball, if all are above ``enough``; else minus infinity, ``[batch]``.

    All open parts of an image are cut, round after round, until none is left or more would be needed than it may have; so what becomes
    of an image does not depend on the others.

    Args:
        exact: what bounds are computed with.
        quick: the same in float32, what they are sought with.
        subproblems: of which all must be decided.
        enough: the bound that decides, ``[batch]``.
        branches: parts that the ball of an image is cut into at most.
        width: parts that are bounded at once.

    Source: beta-CROWN, arXiv 2103.06624; the choice of the ReLU, arXiv 2104.06718, section 3 (filtered smart branching).
    """
    least, spent = torch.full_like(enough, torch.inf), torch.zeros_like(enough, dtype=torch.long)
    while len(subproblems):
        spent += 2 * torch.bincount(subproblems.image, minlength=len(enough))
        least[spent > branches] = -torch.inf
        subproblems = subproblems[least[subproblems.image] > -torch.inf]
        open_parts = []
        for parts in subproblems.split(max(1, width // 2)):
            step, neuron, is_free = best_cut(quick, parts, enough[parts.image])
            least[parts.image[~is_free]] = -torch.inf
            halves = Subproblems.joined([held(parts, step, neuron, sign) for sign in (1, -1)])
            halves = improved(exact, quick, halves, enough[halves.image], ITERATIONS)
            is_open = halves.bound <= enough[halves.image]
            least.scatter_reduce_(0, halves.image[~is_open], halves.bound[~is_open], "amin")
            open_parts.append(halves[is_open])
        subproblems = Subproblems.joined(open_parts) if open_parts else subproblems
    return least


def held(subproblems: Subproblems, step: Tensor, neuron: Tensor, sign: int) -> Subproblems:
    """The parts where the value ``neuron`` of ``step``, each ``[n]``, is on this side of 0."""
    signs = {number: each.clone() for number, each in subproblems.signs.items()}
    for number, each in signs.items():
        here = (step == number).nonzero()[:, 0]
        each.flatten(1)[here, neuron[here]] = sign
    return replace(subproblems, signs=signs)


def best_cut(quick: Relaxation, subproblems: Subproblems, enough: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where to cut: the step and the number of the neuron, and whether any was left, each ``[n]``.

    Of those whose relaxation seems to cost most, the one after which the worse half has the best bound by the slopes as they are.
    """
    scores = relaxation_costs(quick, subproblems)
    steps = torch.cat([torch.full_like(score[0], step, dtype=torch.long) for step, score in scores.items()])
    neurons = torch.cat([torch.arange(score.shape[1], device=score.device) for score in scores.values()])
    cost, places = torch.cat(list(scores.values()), 1).topk(min(CANDIDATES, len(steps)), 1)
    gains = []
    for candidate in places.unbind(1):
        halves = [held(subproblems, steps[candidate], neurons[candidate], sign) for sign in (1, -1)]
        gains.append(torch.stack([quick.bounds(half) for half in halves]).amin(0).minimum(enough.float()))
    gain = torch.where(cost >= 0, torch.stack(gains, 1), -torch.inf)
    best = gain.argmax(1, keepdim=True)
    place = places.gather(1, best)[:, 0]
    return steps[place], neurons[place], cost.gather(1, best)[:, 0] >= 0


def relaxation_costs(quick: Relaxation, subproblems: Subproblems) -> dict[int, Tensor]:
    """For each step before a ReLU, what the lines around it may cost the bound at each neuron, ``[n, neurons]``; -1 where none is free."""
    seen: dict[int, Tensor] = {}
    quick.bounds(subproblems, seen=seen)
    costs: dict[int, Tensor] = {}
    for relu, step in quick.graph.relus.items():
        lower, upper = quick.within(subproblems, step)
        rows, slope = seen[relu].squeeze(1), subproblems.slopes[relu]
        above = -lower * upper / (upper - lower).clamp(min=1e-12)  # the chord at 0
        below = torch.minimum(-lower * slope, upper * (1 - slope))
        cost = torch.where(rows < 0, -rows * above, rows * below)
        costs[step] = torch.where((lower < 0) & (upper > 0), cost, -1).flatten(1)
    return costs
