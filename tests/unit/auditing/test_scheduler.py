"""Which search comes next, and when it is enough."""

from __future__ import annotations

from torch import nn

import logitpair as lp
from logitpair.auditing.scheduler import NextRound, Round, Stop, batch_for, next_round
from logitpair.auditing.strategies import SearchStrategy
from logitpair.storage.results import SearchRound

CHEAP = SearchStrategy("cheap", lambda repetition: lp.attacks.Unperturbed(), 10.0, first_on_all=True)
EXPENSIVE = SearchStrategy("expensive", lambda repetition: lp.attacks.Unperturbed(), 50.0)


def done(strategy: SearchStrategy, repetition: int, attacked: int, broken: int, *, cut: bool = False) -> Round:
    record = SearchRound(
        strategy=strategy.name,
        repetition=repetition,
        attacked=attacked,
        broken=broken,
        still_correct=0,
        gradients_per_example=0,
        forwards_per_example=0,
        seconds=0,
    )
    return Round(record, strategy.cost * attacked, cut)


def chosen(
    rounds: list[Round], still_correct: int, budget: float = 1000.0, choices: tuple[SearchStrategy, ...] = (CHEAP, EXPENSIVE)
) -> tuple[str, int]:
    found = next_round(choices, rounds, 1000, still_correct, budget)
    assert not isinstance(found, Stop), found
    return found.strategy.name, found.repetition


def stopped(rounds: list[Round], still_correct: int, budget: float = 1000.0) -> Stop:
    found = next_round((CHEAP, EXPENSIVE), rounds, 1000, still_correct, budget)
    assert isinstance(found, Stop)
    return found


def test_it_begins_with_what_promises_most_for_its_cost() -> None:
    assert chosen([], 1000) == ("cheap", 0)


def test_what_broke_many_is_taken_again_and_what_broke_few_makes_room() -> None:
    assert chosen([done(CHEAP, 0, 1000, 600)], 400) == ("cheap", 1)
    assert chosen([done(CHEAP, 0, 1000, 10)], 990) == ("expensive", 0)


def test_an_expensive_search_that_breaks_more_for_its_cost_is_preferred() -> None:
    rounds = [done(CHEAP, 0, 1000, 10), done(EXPENSIVE, 0, 990, 200)]
    assert chosen(rounds, 790) == ("expensive", 1)


def test_it_stops_when_nothing_is_correct_or_no_search_promises_anything() -> None:
    assert stopped([], 0).converged
    assert stopped([done(CHEAP, 0, 1000, 0), done(EXPENSIVE, 0, 1000, 1)], 999).converged
    assert stopped([done(CHEAP, 0, 1000, 0), done(EXPENSIVE, 0, 1000, 4)], 996).converged
    assert chosen([done(CHEAP, 0, 1000, 0), done(EXPENSIVE, 0, 1000, 70)], 930) == ("expensive", 1)


def test_it_stops_without_convergence_when_the_budget_is_spent() -> None:
    after = [done(CHEAP, 0, 1000, 300)]
    assert chosen(after, 700, budget=17) == ("cheap", 1)
    for budget, batch in ((17, 700), (16, 600), (10.08, 8)):  # as many of the nearest as it is enough for
        found = next_round((CHEAP, EXPENSIVE), after, 1000, 700, budget)
        assert isinstance(found, NextRound)
        assert found.batch == batch
    ended = stopped(after, 700, budget=10.07)
    assert not ended.converged
    assert "budget of 10.07" in ended.reason


def test_after_a_first_round_on_all_rounds_are_for_the_nearest_examples_and_for_more_where_they_break_many() -> None:
    assert batch_for(CHEAP, [], 2000) == 2000
    first = done(CHEAP, 0, 2000, 900)
    assert batch_for(CHEAP, [first], 1100) == 1100  # twice 2,000, of which 1,100 are left
    assert batch_for(EXPENSIVE, [first], 1100) == 66
    assert batch_for(CHEAP, [done(CHEAP, 0, 2000, 100)], 1900) == 114
    assert batch_for(EXPENSIVE, [first, done(EXPENSIVE, 0, 120, 29)], 1100) == 66
    assert batch_for(EXPENSIVE, [first, done(EXPENSIVE, 0, 120, 30)], 1100) == 240  # the nearest were not all there is to find
    assert batch_for(EXPENSIVE, [first], 500) == 64
    assert batch_for(EXPENSIVE, [first], 20) == 20


def test_an_expensive_search_is_first_tried_on_few() -> None:
    most_expensive = SearchStrategy("most expensive", EXPENSIVE.attack, 500.0)
    spent = [done(CHEAP, 0, 2000, 900)]  # 20,000 gradients, a fifth of which is enough for 8
    assert batch_for(most_expensive, spent, 1100) == 16
    spent.append(done(EXPENSIVE, 0, 1000, 10))  # with 50,000 more for 28
    assert batch_for(most_expensive, spent, 1090) == 28
    assert batch_for(most_expensive, [*spent, done(most_expensive, 0, 28, 6)], 1084) == 65


def test_it_goes_on_while_a_little_more_of_what_is_spent_may_change_the_answer() -> None:
    spent = [done(CHEAP, 0, 1000, 900), done(EXPENSIVE, 0, 100, 0), done(CHEAP, 1, 100, 2)]
    # a tenth of 16,000 gradients more, at a hundredth of an image each ten, breaks 1.6 images: more than one in 1,000
    assert next_round((CHEAP, EXPENSIVE), spent, 1000, 98, 1000.0) == NextRound(CHEAP, 2, 64)
    assert isinstance(next_round((CHEAP, EXPENSIVE), spent, 1601, 98, 1000.0), Stop)


def test_a_round_cut_short_by_the_budget_is_no_convergence() -> None:
    cut = done(EXPENSIVE, 0, 8, 0, cut=True)
    ended = next_round((CHEAP, EXPENSIVE), [done(CHEAP, 0, 1000, 0), cut], 1000, 1000, 10.41)
    assert isinstance(ended, Stop)
    assert not ended.converged
    following = next_round((CHEAP, EXPENSIVE), [done(CHEAP, 0, 1000, 0)], 1000, 1000, 10.41)
    assert following == NextRound(EXPENSIVE, 0, 8, cut=True)


def test_another_network_is_tried_once() -> None:
    assert (
        batch_for(
            SearchStrategy("transfer_other", CHEAP.attack, 10.0, first_on_all=True, source=nn.Identity()), [done(CHEAP, 0, 1000, 10)], 990
        )
        == 990
    )
    transfer = SearchStrategy("transfer_other", lambda repetition: lp.attacks.Unperturbed(), 10.0, source=nn.Identity())
    rounds = [done(transfer, 0, 1000, 500), done(CHEAP, 0, 500, 50)]
    assert chosen(rounds, 450, choices=(CHEAP, transfer)) == ("cheap", 1)
    rounds.append(done(CHEAP, 1, 450, 0))
    found = next_round((CHEAP, transfer), rounds, 1000, 450, 1000.0)
    assert isinstance(found, Stop)
    assert found.converged  # what the other network broke is no reason to go on
