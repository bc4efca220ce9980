"""Branch and bound: it proves what is so and nothing else, image by image."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from bounded_networks import CLASSES, KINDS, exact_margin, images, network, relaxations, subproblems, tiny, worst_found
from torch import nn

import logitpair as lp
from logitpair.bounds.branch_and_bound import best_cut, decided_by_branching, held, relaxation_gaps
from logitpair.bounds.interval import intervals
from logitpair.bounds.linear import lower_bounds
from logitpair.bounds.operations import Interval
from logitpair.bounds.optimized_slopes import improved
from logitpair.bounds.subproblems import Subproblems
from logitpair.certification.margins import differences
from logitpair.threat import L2, Threat

ROWS = torch.cat([torch.eye(CLASSES), -torch.eye(CLASSES)]).double()


def cut_at_random(parts: Subproblems, source: torch.Generator) -> Subproblems:
    """Signs and multipliers drawn for a third of all neurons, and slopes for all."""
    signs = {step: (torch.randint(-3, 4, each.shape, generator=source) / 3).trunc().to(torch.int8) for step, each in parts.signs.items()}
    slopes = {relu: torch.rand(each.shape, generator=source) for relu, each in parts.slopes.items()}
    multipliers = {step: torch.rand(each.shape, generator=source) for step, each in parts.multipliers.items()}
    return Subproblems(parts.image, parts.rows, parts.bound, signs, slopes, multipliers)


@pytest.mark.parametrize("threat", [lp.Linf(0.1), L2(0.8)])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_bounds_hold_in_their_part_whatever_slopes_and_multipliers_are(kind: str, threat: Threat) -> None:
    """Every image of the ball lies in the part that its own signs make; the bounds of that part hold for it."""
    model, x = network(kind), images(2)
    exact, _ = relaxations(model, x, threat)
    many = x.repeat(40, 1, 1, 1)
    points = threat.random_start(many, torch.Generator().manual_seed(0)).unflatten(0, (40, 2))
    source, parts = torch.Generator().manual_seed(1), subproblems(exact, ROWS)
    for point in points:
        values = [value.lower for value in intervals(exact.graph, Interval(point, point))]
        cut = cut_at_random(parts, source)
        for step, signs in cut.signs.items():
            own = values[step][cut.image].sign().to(torch.int8)
            signs.mul_(signs).mul_(own)  # the neurons that were drawn, on the side on which they are
        found = exact.bounds(cut)
        assert (found <= (parts.rows * values[-1][parts.image]).sum(1) + 1e-9).all()


@torch.no_grad()
def test_a_multiplier_of_the_wrong_sign_would_be_seen() -> None:
    """The test above catches multipliers that reward the wrong side."""
    model, x, threat = network("fully_connected"), images(1), lp.Linf(0.1)
    exact, _ = relaxations(model, x, threat)
    parts = subproblems(exact, ROWS)
    wrong = {step: torch.full_like(each, -5.0) for step, each in parts.multipliers.items()}
    values = [value.lower for value in intervals(exact.graph, Interval(x, x))]
    for step, signs in parts.signs.items():
        signs.copy_(values[step][parts.image].sign())
    assert (exact.bounds(replace(parts, multipliers=wrong)) > (parts.rows * values[-1][parts.image]).sum(1)).any()


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_what_is_so_is_decided_and_what_is_not_is_not(seed: int) -> None:
    """Up to nearly the optimum of an integer programme, however far crown is from it; and never beyond it."""
    model, x, threat = tiny(seed), images(8, seed, (1, 2, 3)), lp.Linf(0.3)
    y = model(x).argmax(1)
    optimum = torch.tensor([exact_margin(model, threat.eps, one, int(label)) for one, label in zip(x, y, strict=True)])
    exact, quick = relaxations(model, x, threat)
    parts = subproblems(exact, differences(y, CLASSES, x))
    crown = parts.bound.view(8, -1).amin(1)
    assert (optimum - crown > 1e-3).sum() > 3
    for enough, expected in ((torch.lerp(crown, optimum, 0.98) - 1e-4, True), (optimum + 1e-6, False)):
        asked = parts[parts.bound <= enough[parts.image]]
        found = decided_by_branching(exact, quick, asked, enough, branches=1000, width=256)
        assert ((found > enough) == expected).all()


@pytest.mark.parametrize("kind", ["deep", "residual"])
@torch.no_grad()
def test_it_proves_what_slopes_alone_do_not(kind: str) -> None:
    model, x, threat = network(kind), images(3), lp.Linf(0.03)
    exact, quick = relaxations(model, x, threat)
    rows = torch.randn(3, 1, CLASSES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts, least = subproblems(exact, rows), worst_found(model, rows, threat, x, steps=30)[:, 0]
    never = torch.full((3,), torch.inf, dtype=torch.float64)
    slopes = improved(exact, quick, parts, never, 30).bound
    enough = torch.lerp(slopes, least, 0.3)
    assert (decided_by_branching(exact, quick, parts, enough, branches=256, width=64) > enough).any()
    assert decided_by_branching(exact, quick, parts, least + 1e-6, branches=32, width=64).tolist() == [-torch.inf] * 3


@torch.no_grad()
def test_an_image_has_what_it_has_alone_and_in_any_width() -> None:
    model, x, threat = network("deep", 1), images(5), lp.Linf(0.05)
    exact, quick = relaxations(model, x, threat)
    default = lower_bounds(exact.graph, ROWS.expand(5, -1, -1), exact.inside, exact.ball)
    least = worst_found(model, ROWS.expand(5, -1, -1), threat, x)
    enough = torch.lerp(default, least, torch.tensor([0.2, 0.8, 0.95, 0.5, 1.01], dtype=torch.float64).view(5, 1)).amin(1)
    options = {"branches": 60, "width": 64}
    together = decided_by_branching(exact, quick, subproblems(exact, ROWS), enough, **options)
    assert (together == -torch.inf).any()
    assert (together > enough).any()
    torch.testing.assert_close(decided_by_branching(exact, quick, subproblems(exact, ROWS), enough, branches=60, width=3), together)
    for i in range(5):
        alone = relaxations(model, x[i : i + 1], threat)
        torch.testing.assert_close(
            decided_by_branching(*alone, subproblems(alone[0], ROWS), enough[i : i + 1], **options), together[i : i + 1]
        )


@torch.no_grad()
def test_more_branches_never_decide_less() -> None:
    model, x, threat = network("deep"), images(8), lp.Linf(0.05)
    exact, quick = relaxations(model, x, threat)
    parts = subproblems(exact, ROWS)
    default = parts.bound.view(8, -1)
    enough = torch.lerp(default, worst_found(model, ROWS.expand(8, -1, -1), threat, x), 0.8).amin(1)
    parts = parts[parts.bound <= enough[parts.image]]
    found = [decided_by_branching(exact, quick, parts, enough, branches=most, width=64) > enough for most in (2, 8, 32, 128, 512)]
    for fewer, more in itertools.pairwise(found):
        assert (more | ~fewer).all()
    assert found[-1].sum() > found[0].sum()


@torch.no_grad()
def test_nothing_is_asked_where_nothing_is_open() -> None:
    exact, quick = relaxations(network("deep"), images(2), lp.Linf(0.05))
    none = subproblems(exact, ROWS)[torch.zeros(0, dtype=torch.long)]
    enough = torch.zeros(2, dtype=torch.float64)
    assert decided_by_branching(exact, quick, none, enough, branches=2, width=4).tolist() == [torch.inf] * 2


@torch.no_grad()
def test_a_network_without_relus_is_given_up() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, CLASSES)).double()
    exact, quick = relaxations(model, images(2), lp.Linf(0.1))
    enough = torch.full((2,), 1e3, dtype=torch.float64)
    assert decided_by_branching(exact, quick, subproblems(exact, ROWS), enough, branches=64, width=4).tolist() == [-torch.inf] * 2


@torch.no_grad()
def test_a_part_is_cut_where_a_neuron_is_free_until_none_is() -> None:
    exact, quick = relaxations(network("fully_connected"), images(1), lp.Linf(0.1))
    parts = subproblems(exact, ROWS)[:1]
    seen: set[tuple[int, int]] = set()
    number = sum(int(((lower < 0) & (upper > 0)).sum()) for lower, upper in (quick.within(parts, step) for step in parts.signs))
    for _ in range(number):
        step, neuron, is_free = best_cut(quick, parts, torch.tensor([1e3]))
        assert is_free.all()
        seen.add((int(step), int(neuron)))
        parts = held(parts, step, neuron, 1)
    assert len(seen) == number
    assert not best_cut(quick, parts, torch.tensor([1e3]))[2].any()
    assert all((cost == -1).all() for cost in relaxation_gaps(quick, parts).values())


@torch.no_grad()
def test_halves_have_better_bounds_than_the_whole() -> None:
    exact, quick = relaxations(network("deep"), images(4), lp.Linf(0.1))
    never = torch.full((4 * len(ROWS),), torch.inf, dtype=torch.float64)
    parts = improved(exact, quick, subproblems(exact, ROWS), never, 20)
    step, neuron, _ = best_cut(quick, parts, never)
    halves = [improved(exact, quick, held(parts, step, neuron, sign), never, 20) for sign in (1, -1)]
    for half in halves:
        assert (half.bound >= parts.bound).all()
    assert (torch.minimum(*[half.bound for half in halves]) > parts.bound + 1e-6).float().mean() > 0.5
