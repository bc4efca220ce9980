"""What more of the same searches would break, at most."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from handmade_audits import audit
from handmade_runs import accuracy
from rounds import CHEAP, EXPENSIVE, done
from scipy.stats import chi2

from logitpair.auditing.convergence import Round, further_breaks, images, last_rounds, outlook


def passes(rounds: list[Round], name: str = "expensive") -> float:
    return last_rounds([name], rounds)[name][1]


@pytest.mark.parametrize("broken", [0, 1, 5, 40])
def test_of_one_strategy_it_is_the_upper_bound_of_a_poisson_mean(broken: int) -> None:
    exact = chi2.ppf(0.95, 2 * broken + 2) / 2
    assert further_breaks([(broken, 1.0)], 1000) == pytest.approx(exact)
    assert further_breaks([(broken, 0.5)], 1000) == pytest.approx(2 * exact)


def test_of_strategies_known_alike_it_is_the_bound_of_what_they_broke_together() -> None:
    assert further_breaks([(2, 1.0), (3, 1.0), (1, 1.0)], 1000) == pytest.approx(chi2.ppf(0.95, 2 * 6 + 2) / 2)


def test_of_strategies_that_broke_nothing_it_is_that_of_the_least_known() -> None:
    assert further_breaks([(0, 1.0), (0, 0.25), (0, 3.0)], 1000) == pytest.approx(-log(0.05) / 0.25)


def test_it_is_all_that_is_left_where_a_strategy_was_not_tried_and_never_more() -> None:
    assert further_breaks([(0, 1.0), (0, 0.0)], 77) == 77
    assert further_breaks([(0, 0.01)], 77) == 77
    assert further_breaks([], 77) == 0


def test_it_holds_in_95_of_100_draws() -> None:
    generator = np.random.default_rng(0)
    means, weights = np.array([3.0, 0.4, 7.0]), np.array([1.0, 4.0, 0.5])
    draws = generator.poisson(means, (400, 3))
    held = np.mean([further_breaks(zip(draw, 1 / weights, strict=True), 10**6) >= weights @ means for draw in draws])
    assert held >= 0.95


def test_a_round_on_all_is_a_pass_and_one_on_the_nearest_the_part_that_the_ranks_of_what_was_broken_say() -> None:
    near = done(CHEAP, 1000, 90, broken_nearest=True)  # 90 of 1,000, all of them among the nearest 9%
    nearest = done(EXPENSIVE, 91, 0, of=910)  # the nearest tenth
    assert passes([near, done(EXPENSIVE, 910, 0)]) == pytest.approx(1)
    assert passes([near, nearest]) == pytest.approx((90 + 10 * 0.1) / 100)
    assert passes([near, nearest, done(EXPENSIVE, 91, 0, of=910, first=455)]) == pytest.approx(0.01)  # and the later half counts
    assert passes([nearest]) == pytest.approx(0.1)  # with nothing broken every rank counts alike
    anywhere = done(CHEAP, 1000, 90)
    assert passes([anywhere, nearest]) == pytest.approx(0.1, abs=0.02)


def test_what_counts_is_the_later_half_of_a_strategys_rounds() -> None:
    rounds = [done(CHEAP, 1000, 500), done(CHEAP, 500, 100), done(CHEAP, 400, 3), done(CHEAP, 397, 1)]
    counted = [last_rounds(["cheap"], rounds[:number])["cheap"][0] for number in (1, 2, 3, 4)]
    assert counted == [500, 100, 103, 4]


def test_a_bound_is_given_in_images_without_powers_of_ten() -> None:
    assert [images(bound) for bound in (0.951, 5.34, 24.0, 99.97, 1234.5)] == ["0.951", "5.34", "24", "100", "1,234"]


def test_what_more_search_would_find_is_a_sentence_unless_it_was_not_recorded() -> None:
    some = "More search of these kinds is expected to break at most 5.34 more of the 110 images still correct (95%)."
    assert outlook(audit(110, further_breaks=5.34)) == some
    assert outlook(audit(0, further_breaks=0.0)) == "No image is left for more search to break."
    assert outlook(audit(110)) == ""


def test_what_is_certified_is_not_left_to_be_broken() -> None:
    bracketed = audit(110, further_breaks=5.34, certified=accuracy(100))
    assert "at most 5.34 more of the 10 images neither broken nor certified (95%)" in outlook(bracketed)
    assert outlook(audit(110, further_breaks=0.0, certified=accuracy(110))) == "No image is left for more search to break."
