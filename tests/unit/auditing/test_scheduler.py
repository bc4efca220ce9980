"""Which search comes next, and when it is enough."""

from __future__ import annotations

from rounds import CHEAP, EXPENSIVE, done
from torch import nn

import logitpair as lp
from logitpair.auditing.convergence import Round
from logitpair.auditing.scheduler import NextRound, Stop, batch_for, next_round
from logitpair.auditing.strategies import SearchStrategy


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
    assert chosen([done(CHEAP, 1000, 600)], 400) == ("cheap", 1)
    assert chosen([done(CHEAP, 1000, 10)], 990) == ("expensive", 0)


def test_an_expensive_search_that_breaks_more_for_its_cost_is_preferred() -> None:
    rounds = [done(CHEAP, 1000, 10), done(EXPENSIVE, 990, 200)]
    assert chosen(rounds, 790) == ("expensive", 1)


def test_of_two_that_break_the_cheaper_comes_next_unless_the_other_breaks_more_for_its_cost() -> None:
    assert chosen([done(CHEAP, 1000, 100), done(EXPENSIVE, 900, 135)], 765) == ("cheap", 1)
    assert chosen([done(CHEAP, 1000, 100), done(EXPENSIVE, 900, 460)], 440) == ("expensive", 1)


def test_it_stops_when_nothing_is_correct_or_when_a_pass_more_breaks_less_than_one_in_a_thousand() -> None:
    assert stopped([], 0).converged
    rounds = [done(CHEAP, 10_000, 0), done(EXPENSIVE, 10_000, 1)]
    found = next_round((CHEAP, EXPENSIVE), rounds, 10_000, 9999, 1000.0)
    assert isinstance(found, Stop)
    assert found.converged
    assert 4.7 < found.further_breaks < 6
    assert "at most" in found.reason
    assert not isinstance(next_round((CHEAP, EXPENSIVE), rounds, 4700, 4699, 1000.0), Stop)


def test_an_expensive_search_that_still_breaks_is_not_cut_off() -> None:
    rounds = [done(CHEAP, 10_000, 6000), done(CHEAP, 240, 0, of=4000), done(EXPENSIVE, 100, 24, of=4000)]
    assert chosen(rounds, 3976) == ("expensive", 1)


def test_nothing_broken_of_a_few_retires_no_strategy() -> None:
    rounds = [done(CHEAP, 1000, 60, broken_nearest=True), done(CHEAP, 940, 0), done(EXPENSIVE, 16, 0, of=940)]
    found = next_round((CHEAP, EXPENSIVE), rounds, 1000, 940, 1000.0)
    assert found == NextRound(EXPENSIVE, 1, 64)  # of which least is known


def test_it_stops_without_convergence_when_the_budget_is_spent() -> None:
    after = [done(CHEAP, 1000, 300)]
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
    first = done(CHEAP, 2000, 900)
    assert batch_for(CHEAP, [first], 1100) == 1100  # twice 2,000, of which 1,100 are left
    assert batch_for(EXPENSIVE, [first], 1650) == 66
    assert batch_for(CHEAP, [done(CHEAP, 2000, 100)], 1900) == 76
    assert batch_for(EXPENSIVE, [first, done(EXPENSIVE, 120, 29)], 1650) == 66
    assert batch_for(EXPENSIVE, [first, done(EXPENSIVE, 120, 30)], 1100) == 240  # the nearest were not all there is to find
    assert batch_for(EXPENSIVE, [first], 500) == 64
    assert batch_for(EXPENSIVE, [first], 20) == 20


def test_an_expensive_search_is_first_tried_on_few() -> None:
    most_expensive = SearchStrategy("most expensive", EXPENSIVE.attack, 500.0)
    spent = [done(CHEAP, 2000, 900)]  # 20,000 gradients, a fifth of which is enough for 8
    assert batch_for(most_expensive, spent, 1100) == 16
    spent.append(done(EXPENSIVE, 1000, 10))  # with 50,000 more for 28
    assert batch_for(most_expensive, spent, 1090) == 28
    assert batch_for(most_expensive, [*spent, done(most_expensive, 28, 6)], 1084) == 33  # as long as it breaks less than a quarter
    assert batch_for(most_expensive, [*spent, done(most_expensive, 28, 7)], 1625) == 65


def test_when_nothing_promises_much_the_strategy_that_is_known_least_comes_next() -> None:
    rounds = [done(CHEAP, 1000, 100), done(CHEAP, 900, 0), done(EXPENSIVE, 90, 0, of=900)]
    assert chosen(rounds, 900) == ("expensive", 1)
    rounds += [done(EXPENSIVE, 900, 0), done(EXPENSIVE, 900, 0)]
    assert chosen(rounds, 900) == ("cheap", 2)


def test_a_search_that_promises_little_takes_all_that_are_left_where_they_are_few_and_the_budget_is_enough() -> None:
    def batch(left: int, budget: float) -> int:
        rounds = [done(CHEAP, 1000, 1000 - left), done(CHEAP, left, 0), done(EXPENSIVE, 64, 0, of=left)]
        found = next_round((CHEAP, EXPENSIVE), rounds, 1000, left, budget)
        assert isinstance(found, NextRound)
        assert found.strategy == EXPENSIVE
        return found.batch

    spent = (1000 + 256) * CHEAP.cost + 64 * EXPENSIVE.cost
    assert batch(256, (spent + 256 * EXPENSIVE.cost) / 1000) == 256
    assert batch(256, (spent + 255 * EXPENSIVE.cost) / 1000) == 63
    assert batch(257, 1000) == 63


def test_late_it_ends_and_says_why_and_what_is_left_to_find() -> None:
    found = next_round((CHEAP, EXPENSIVE), [done(CHEAP, 1000, 300)], 1000, 700, 1000.0, late="the 2 minutes are over")
    assert isinstance(found, Stop)
    assert not found.converged
    assert found.further_breaks == 700  # one search was not tried
    assert found.reason.startswith("the 2 minutes are over; another pass of all 2 searches breaks at most 700 of 1,000 images")


def test_another_network_is_tried_once() -> None:
    assert (
        batch_for(
            SearchStrategy("transfer_other", CHEAP.attack, 10.0, first_on_all=True, source=nn.Identity()), [done(CHEAP, 1000, 10)], 990
        )
        == 990
    )
    transfer = SearchStrategy("transfer_other", lambda repetition: lp.attacks.Unperturbed(), 10.0, source=nn.Identity())
    rounds = [done(transfer, 1000, 500), done(CHEAP, 500, 50)]
    assert chosen(rounds, 450, choices=(CHEAP, transfer)) == ("cheap", 1)
    rounds.append(done(CHEAP, 450, 0))
    found = next_round((CHEAP, transfer), rounds, 10_000, 450, 1000.0)
    assert isinstance(found, Stop)
    assert found.converged  # what the other network broke is no reason to go on


def test_a_last_resort_waits_for_a_whole_pass_of_every_other_and_counts_where_the_budget_is_enough_for_it_on_every_image() -> None:
    last = SearchStrategy("last", CHEAP.attack, 10_000.0, last_resort=True)
    choices = (CHEAP, EXPENSIVE, last)
    rounds = [done(CHEAP, 1000, 100), done(CHEAP, 900, 0), done(EXPENSIVE, 500, 0, of=900)]
    assert chosen(rounds, 900, budget=1e6, choices=choices)[0] == "expensive"
    rounds.append(done(EXPENSIVE, 900, 0))
    assert chosen(rounds, 900, budget=1e6, choices=choices) == ("last", 0)
    found = next_round(choices, rounds, 10_000, 900, 9_999.0)
    assert isinstance(found, Stop)
    assert "all 2 searches" in found.reason
    found = next_round(choices, rounds, 10_000, 900, 10_000.0)
    assert isinstance(found, NextRound)
    assert found.strategy == last
    rounds.append(done(last, 900, 0))
    found = next_round(choices, rounds, 10_000, 900, 10_000.0)
    assert isinstance(found, Stop)
    assert "all 3 searches" in found.reason


def test_a_last_resort_does_not_wait_for_that_whole_pass_once_the_others_have_cost_twice_what_it_costs() -> None:
    last = SearchStrategy("last", CHEAP.attack, 1000.0, last_resort=True)
    choices = (CHEAP, EXPENSIVE, last)
    rounds = [done(CHEAP, 1000, 100), done(CHEAP, 900, 0)]  # 19,000 gradients; 16 images of the last resort are 16,000
    assert chosen([*rounds, done(EXPENSIVE, 259, 0, of=900)], 900, choices=choices)[0] == "expensive"
    rounds.append(done(EXPENSIVE, 260, 0, of=900))
    assert chosen(rounds, 900, choices=choices) == ("last", 0)
    rounds.append(done(last, 16, 0, of=900))
    assert chosen(rounds, 900, choices=choices)[0] == "expensive", "it has had its share"
    rounds += [done(CHEAP, 900, 0)] * 2  # the others have cost 50,000, and it 16,000; once more it needs 64,000 of theirs
    assert chosen(rounds, 900, choices=choices)[0] == "expensive"
    rounds += [done(CHEAP, 900, 0)] * 2
    assert chosen(rounds, 900, choices=choices) == ("last", 1)


def test_a_last_resort_that_is_due_before_that_whole_pass_does_not_take_all_that_are_left() -> None:
    last = SearchStrategy("last", CHEAP.attack, 1000.0, last_resort=True)
    rounds = [done(CHEAP, 1000, 800), *[done(CHEAP, 200, 0)] * 10, done(EXPENSIVE, 100, 0, of=200)]  # 35,000 gradients
    found = next_round((CHEAP, EXPENSIVE, last), rounds, 1000, 200, 1000.0)
    assert isinstance(found, NextRound)
    assert (found.strategy, found.batch) == (last, 16)


def test_of_equal_promise_the_strategy_with_fewer_rounds_comes_next() -> None:
    other = SearchStrategy("other", CHEAP.attack, CHEAP.cost)  # expected to break 5%, as much as a round that broke 10% leaves to expect
    assert chosen([done(CHEAP, 1000, 100)], 900, choices=(CHEAP, other)) == ("other", 0)
    assert chosen([done(other, 1000, 100)], 900, choices=(other, CHEAP)) == ("cheap", 0)


def test_a_promise_of_just_one_image_in_a_thousand_is_worthwhile() -> None:
    gained = SearchStrategy("gained", CHEAP.attack, 1.0)  # a quarter of what it spent is expected to break 1 of 1,000 images
    assert chosen([done(gained, 1000, 8)], 992, choices=(gained, EXPENSIVE)) == ("gained", 1)
    assert chosen([done(gained, 1000, 7)], 993, choices=(gained, EXPENSIVE)) == ("expensive", 0)
