"""The searches for few and many classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import logitpair as lp
from logitpair.attacks import APGD, DiversifiedPGD
from logitpair.auditing.strategies import FORWARD, strategies_for


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


def test_the_most_expensive_searches_need_a_budget_for_some_images_and_the_last_a_network_of_relus() -> None:
    def names(gradients: float, threat: lp.threat.Threat = lp.Linf(0.1), *, has_programmes: bool = True) -> set[str]:
        return {strategy.name for strategy in strategies_for(threat, 10, {}, gradients, lambda: has_programmes)}

    assert names(7.6e5) - names(7.5e5) == {"local_search"}
    assert names(3.7e6) - names(3.6e6) == {"activation_search"}
    assert names(3.7e6, has_programmes=False) == names(3.7e6, lp.L2(0.5)) == names(3.6e6)


@pytest.mark.slow
def test_each_costs_on_an_image_that_nothing_breaks_what_it_says() -> None:
    network, x, y = nn.Sequential(nn.Flatten(), nn.Linear(4, 5)), torch.rand(1, 1, 2, 2), torch.tensor([0])
    nn.init.zeros_(network[1].weight)
    with torch.no_grad():
        network[1].bias.copy_(torch.tensor([9.0, 1, 2, 3, 4]))
    for strategy in strategies_for(lp.Linf(0.1), 5, {}, 1e9, lambda: True):
        found = strategy.attack(0).find(network, x, y)
        assert float(found.gradients + found.forwards * FORWARD) == pytest.approx(strategy.cost, rel=0.03), strategy.name
