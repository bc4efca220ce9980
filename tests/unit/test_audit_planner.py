"""Which search comes next, and when it is enough."""

from __future__ import annotations

import pytest
from torch import nn

import logitpair as lp
from logitpair.attacks import APGD, DiversifiedPGD
from logitpair.audit.arms import FORWARD, Arm, arms
from logitpair.audit.planner import Round, Stop, Turn, next_arm, reach

CHEAP, DEAR = Arm("cheap", lambda turn: lp.attacks.Unperturbed(), 10.0), Arm("dear", lambda turn: lp.attacks.Unperturbed(), 50.0)


def done(arm: Arm, turn: int, attacked: int, broken: int) -> Round:
    return Round(arm.name, turn, attacked, broken, gradients=arm.cost * attacked, forwards=0.0, seconds=0.0)


def chosen(rounds: list[Round], standing: int, budget: float = 1000.0, choices: tuple[Arm, ...] = (CHEAP, DEAR)) -> tuple[str, int]:
    found = next_arm(choices, rounds, 1000, standing, budget)
    assert not isinstance(found, Stop), found
    return found.arm.name, found.number


def stopped(rounds: list[Round], standing: int, budget: float = 1000.0) -> Stop:
    found = next_arm((CHEAP, DEAR), rounds, 1000, standing, budget)
    assert isinstance(found, Stop)
    return found


def test_it_begins_with_what_promises_most_for_its_cost() -> None:
    assert chosen([], 1000) == ("cheap", 0)


def test_what_broke_many_is_taken_again_and_what_broke_few_makes_room() -> None:
    assert chosen([done(CHEAP, 0, 1000, 600)], 400) == ("cheap", 1)
    assert chosen([done(CHEAP, 0, 1000, 10)], 990) == ("dear", 0)


def test_a_dear_search_that_breaks_more_for_its_cost_is_preferred() -> None:
    rounds = [done(CHEAP, 0, 1000, 10), done(DEAR, 0, 990, 200)]
    assert chosen(rounds, 790) == ("dear", 1)


def test_it_stops_when_nothing_stands_or_no_search_promises_anything() -> None:
    assert stopped([], 0).settled
    assert stopped([done(CHEAP, 0, 1000, 0), done(DEAR, 0, 1000, 1)], 999).settled
    assert stopped([done(CHEAP, 0, 1000, 0), done(DEAR, 0, 1000, 4)], 996).settled
    assert chosen([done(CHEAP, 0, 1000, 0), done(DEAR, 0, 1000, 70)], 930) == ("dear", 1)


def test_it_stops_unsettled_when_the_budget_is_spent() -> None:
    after = [done(CHEAP, 0, 1000, 300)]
    assert chosen(after, 700, budget=17) == ("cheap", 1)
    for budget, reached in ((17, 700), (16, 600), (10.08, 8)):  # as many of the nearest as it is enough for
        found = next_arm((CHEAP, DEAR), after, 1000, 700, budget)
        assert isinstance(found, Turn)
        assert found.reach == reached
    ended = stopped(after, 700, budget=10.07)
    assert not ended.settled
    assert "budget of 10.07" in ended.reason


def test_forward_passes_count_as_a_part_of_a_gradient() -> None:
    assert Round("a", 0, 10, 0, gradients=5.0, forwards=30.0, seconds=0.0).cost == 5 + 30 * FORWARD


def test_dear_searches_and_those_that_broke_few_go_to_the_nearest_examples() -> None:
    focused = Arm("focused", lambda turn: lp.attacks.Unperturbed(), 10.0, nearest=True)
    assert reach(CHEAP, [], 2000) == 2000
    assert reach(CHEAP, [done(CHEAP, 0, 2000, 900)], 1100) == 1100
    assert reach(CHEAP, [done(CHEAP, 0, 2000, 100)], 1900) == 114
    assert reach(focused, [], 2000) == 120
    assert reach(focused, [done(focused, 0, 120, 50)], 1950) == 117
    assert reach(focused, [done(focused, 0, 120, 60)], 1940) == 1940  # the nearest were not all there is to find
    assert reach(focused, [], 500) == 64
    assert reach(focused, [], 20) == 20


def test_another_network_is_tried_once() -> None:
    transfer = Arm("transfer_other", lambda turn: lp.attacks.Unperturbed(), 10.0, source=nn.Identity())
    rounds = [done(transfer, 0, 1000, 500), done(CHEAP, 0, 500, 50)]
    assert chosen(rounds, 450, choices=(CHEAP, transfer)) == ("cheap", 1)
    rounds.append(done(CHEAP, 1, 450, 0))
    found = next_arm((CHEAP, transfer), rounds, 1000, 450, 1000.0)
    assert isinstance(found, Stop)
    assert found.settled  # what the other network broke is no reason to go on


@pytest.mark.parametrize(("classes", "loss"), [(2, lp.losses.margin), (3, lp.losses.dlr), (10, lp.losses.targeted_dlr)])
def test_the_ratio_of_logits_gives_way_where_it_is_not_defined(classes: int, loss: object) -> None:
    ratio = next(arm for arm in arms(lp.Linf(0.1), classes, {}) if arm.name.startswith("apgd") and arm.name != "apgd_ce")
    attack = ratio.attack(0)
    assert isinstance(attack, APGD)
    assert attack.loss is loss


def test_targets_go_round_all_other_classes() -> None:
    targeted = next(arm for arm in arms(lp.Linf(0.1), 4, {}) if arm.name == "targeted")
    attacks = [targeted.attack(turn) for turn in range(5)]
    assert [attack.target_rank for attack in attacks if isinstance(attack, DiversifiedPGD)] == [1, 2, 3, 1, 2]
