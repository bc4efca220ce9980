"""Warm-ups of objectives."""

from __future__ import annotations

import pytest

import logitpair as lp
from logitpair.objectives.warmup import grown, ramp


@pytest.mark.parametrize(("epoch", "warmup", "part"), [(0, 2, 0.0), (0.5, 2, 0.25), (2, 2, 1.0), (5, 2, 1.0), (0, 0, 1.0)])
def test_a_ramp_rises_to_one_and_stays(epoch: float, warmup: float, part: float) -> None:
    assert ramp(epoch, warmup) == part


@pytest.mark.parametrize(("epoch", "eps"), [(0, 3e-4), (1, 0.15), (2, 0.3), (9, 0.3)])
def test_an_attack_grows_to_its_radius_and_is_never_of_none(epoch: float, eps: float) -> None:
    attack = grown(lp.attacks.PGD(lp.Linf(0.3), step_size=0.01, steps=2), epoch, 2)
    assert attack.threat.eps == pytest.approx(eps)
    assert attack.step_size == pytest.approx(eps / 30)
