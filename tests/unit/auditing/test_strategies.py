"""The searches for few and many classes."""

from __future__ import annotations

import pytest

import logitpair as lp
from logitpair.attacks import APGD, DiversifiedPGD
from logitpair.auditing.strategies import strategies_for


@pytest.mark.parametrize(("classes", "loss"), [(2, lp.losses.margin), (3, lp.losses.dlr), (10, lp.losses.targeted_dlr)])
def test_the_ratio_of_logits_gives_way_where_it_is_not_defined(classes: int, loss: object) -> None:
    ratio = next(each for each in strategies_for(lp.Linf(0.1), classes, {}) if each.name.startswith("apgd") and each.name != "apgd_ce")
    attack = ratio.attack(0)
    assert isinstance(attack, APGD)
    assert attack.loss is loss


def test_targets_go_round_all_other_classes() -> None:
    targeted = next(each for each in strategies_for(lp.Linf(0.1), 4, {}) if each.name == "targeted")
    attacks = [targeted.attack(repetition) for repetition in range(5)]
    assert [attack.target_rank for attack in attacks if isinstance(attack, DiversifiedPGD)] == [1, 2, 3, 1, 2]
