"""Which search comes next, and when it is enough."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

import logitpair as lp
from logitpair.attacks import APGD, DiversifiedPGD
from logitpair.auditing.audit_ledger import AuditLedger
from logitpair.auditing.scheduler import Round, Stop, Turn, next_arm, reach
from logitpair.auditing.strategies import FORWARD, SearchStrategy, arms
from logitpair.storage.ledger import POSITION

CHEAP, DEAR = (
    SearchStrategy("cheap", lambda turn: lp.attacks.Unperturbed(), 10.0, everywhere=True),
    SearchStrategy("dear", lambda turn: lp.attacks.Unperturbed(), 50.0),
)


def done(arm: SearchStrategy, turn: int, attacked: int, broken: int) -> Round:
    return Round(arm.name, turn, attacked, broken, gradients=arm.cost * attacked, forwards=0.0, seconds=0.0)


def chosen(
    rounds: list[Round], standing: int, budget: float = 1000.0, choices: tuple[SearchStrategy, ...] = (CHEAP, DEAR)
) -> tuple[str, int]:
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


def test_after_a_first_turn_everywhere_turns_go_to_the_nearest_examples_and_further_where_they_break_many() -> None:
    assert reach(CHEAP, [], 2000) == 2000
    first = done(CHEAP, 0, 2000, 900)
    assert reach(CHEAP, [first], 1100) == 1100  # twice 2,000, of which 1,100 are left
    assert reach(DEAR, [first], 1100) == 66
    assert reach(CHEAP, [done(CHEAP, 0, 2000, 100)], 1900) == 114
    assert reach(DEAR, [first, done(DEAR, 0, 120, 29)], 1100) == 66
    assert reach(DEAR, [first, done(DEAR, 0, 120, 30)], 1100) == 240  # the nearest were not all there is to find
    assert reach(DEAR, [first], 500) == 64
    assert reach(DEAR, [first], 20) == 20


def test_a_dear_search_is_first_tried_on_few() -> None:
    dearest = SearchStrategy("dearest", DEAR.attack, 500.0)
    spent = [done(CHEAP, 0, 2000, 900)]  # 20,000 gradients, a fifth of which is enough for 8
    assert reach(dearest, spent, 1100) == 16
    spent.append(done(DEAR, 0, 1000, 10))  # with 50,000 more for 28
    assert reach(dearest, spent, 1090) == 28
    assert reach(dearest, [*spent, done(dearest, 0, 28, 6)], 1084) == 65


def test_it_goes_on_while_a_little_more_of_what_is_spent_may_change_the_answer() -> None:
    spent = [done(CHEAP, 0, 1000, 900), done(DEAR, 0, 100, 0), done(CHEAP, 1, 100, 2)]
    # a tenth of 16,000 gradients more, at a hundredth of an image each ten, breaks 1.6 images: more than one in 1,000
    assert next_arm((CHEAP, DEAR), spent, 1000, 98, 1000.0) == Turn(CHEAP, 2, 64)
    assert isinstance(next_arm((CHEAP, DEAR), spent, 1601, 98, 1000.0), Stop)


def test_a_turn_cut_short_by_the_budget_settles_nothing() -> None:
    cut = Round("dear", 0, 8, 0, gradients=400.0, forwards=0.0, seconds=0.0, cut=True)
    ended = next_arm((CHEAP, DEAR), [done(CHEAP, 0, 1000, 0), cut], 1000, 1000, 10.41)
    assert isinstance(ended, Stop)
    assert not ended.settled
    turn = next_arm((CHEAP, DEAR), [done(CHEAP, 0, 1000, 0)], 1000, 1000, 10.41)
    assert turn == Turn(DEAR, 0, 8, cut=True)


def test_what_was_attacked_in_vain_counts_as_further() -> None:
    survey = {"y": np.zeros(4, int), "prediction": np.zeros(4, int), "margin": np.array([-1.0, -1.5, -3.5, -2.5])}
    book = AuditLedger([{POSITION: np.arange(4), "gallery/x": np.zeros((4, 1, 2, 2)), **survey}], 4)
    assert book.nearest("one", 2).tolist() == [0, 1]
    kept = {"margin": np.array([-1.0]), "gallery/x_adv": np.zeros((1, 1, 2, 2))}
    nothing = {name: np.zeros(1) for name in ("gradients", "forwards", "prediction", "distance", "restart", "step")}
    part = {POSITION: np.array([0]), **{name: np.array([False]) for name in ("broken", "broken_8_bit")}, **nothing, **kept}
    book.add(0, "one", np.array([0]), [part])
    assert book.nearest("one", 1).tolist() == [1]
    assert book.nearest("one", 2).tolist() == [0, 1]
    assert book.nearest("another", 1).tolist() == [0]
    book.add(1, "one", np.array([0]), [part])
    assert book.nearest("one", 2).tolist() == [1, 3]  # 1.5, 2.5, three times 1, 3.5


def test_logits_may_be_as_small_as_they_like() -> None:
    survey = {"y": np.zeros(3, int), "prediction": np.zeros(3, int), "margin": np.array([-3e-9, -1e-9, -2e-9])}
    book = AuditLedger([{POSITION: np.arange(3), "gallery/x": np.zeros((3, 1, 2, 2)), **survey}], 3)
    assert book.nearest("one", 1).tolist() == [1]


def test_another_network_is_tried_once() -> None:
    assert (
        reach(SearchStrategy("transfer_other", CHEAP.attack, 10.0, everywhere=True, source=nn.Identity()), [done(CHEAP, 0, 1000, 10)], 990)
        == 990
    )
    transfer = SearchStrategy("transfer_other", lambda turn: lp.attacks.Unperturbed(), 10.0, source=nn.Identity())
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
