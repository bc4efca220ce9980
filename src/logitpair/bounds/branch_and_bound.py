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

    All open parts of an image are cut, round after round, until none is left or more would have to be bounded than may be; so what becomes
    of an image does not depend on the others.

    Args:
        exact: what bounds are computed with.
        quick: the same in float32, what they are sought with.
        subproblems: of which all must be decided.
        enough: the bound that decides, ``[batch]``.
        branches: parts that are bounded for an image at most.
        width: parts that are bounded at once.

    Source: beta-CROWN, arXiv 2103.06624; the choice of the ReLU, arXiv 2104.06718 (filtered smart branching), with a score of ours.
    """
    least, spent = torch.full_like(enough, torch.inf), torch.zeros_like(enough, dtype=torch.long)
    branches = branches if quick.graph.relus else 0  # or there is nothing to cut at
    while True:
        is_decided = subproblems.bound > enough[subproblems.image]
        least.scatter_reduce_(0, subproblems.image[is_decided], subproblems.bound[is_decided], "amin")
        subproblems = subproblems[~is_decided]
        spent += 2 * torch.bincount(subproblems.image, minlength=len(enough))
        least[spent > branches] = -torch.inf
        subproblems = subproblems[least[subproblems.image] > -torch.inf]
        if not len(subproblems):
            return least
        halves = []
        for parts in subproblems.split(max(1, width // 2)):
            step, neuron, is_free = best_cut(quick, parts, enough[parts.image])
            least[parts.image[~is_free]] = -torch.inf
            both = Subproblems.joined([held(parts, step, neuron, sign) for sign in (1, -1)])
            halves.append(improved(exact, quick, both, enough[both.image], ITERATIONS))
        subproblems = Subproblems.joined(halves)


def held(subproblems: Subproblems, step: Tensor, neuron: Tensor, sign: int) -> Subproblems:
    """The parts where the value ``neuron`` of ``step``, each ``[n]``, is on this side of 0."""
    signs = {number: each.clone() for number, each in subproblems.signs.items()}
    for number, each in signs.items():
        here = (step == number).nonzero()[:, 0]
        each.view(len(each), -1)[here, neuron[here]] = sign
    return replace(subproblems, signs=signs)


def best_cut(quick: Relaxation, subproblems: Subproblems, enough: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where to cut: the step and the number of the neuron, and whether any was left, each ``[n]``.

    Of those where the relaxation leaves the largest gaps, the one after which the worse half has the best bound by the slopes as they are.
    """
    scores = relaxation_gaps(quick, subproblems)
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


def relaxation_gaps(quick: Relaxation, subproblems: Subproblems) -> dict[int, Tensor]:
    """How far the lines around ReLUs are from them, as the bound counts it, ``[n, neurons]`` for each step before one; -1 if not free.

    Above, the gap at 0; below, the smaller of those at both ends.
    """
    seen: dict[int, Tensor] = {}
    quick.bounds(subproblems, seen=seen)
    gaps: dict[int, Tensor] = {}
    for relu, step in quick.graph.relus.items():
        lower, upper = quick.within(subproblems, step)
        rows, slope = seen[relu].squeeze(1), subproblems.slopes[relu]
        above = -lower * upper / (upper - lower).clamp(min=1e-12)
        below = torch.minimum(-lower * slope, upper * (1 - slope))
        is_free = ((lower < 0) & (upper > 0)).flatten(1)
        gap = torch.where(rows < 0, -rows * above, rows * below).flatten(1)
        gaps[step] = torch.where(is_free, gaps.get(step, 0) + gap, -1)
    return gaps
