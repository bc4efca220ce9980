"""Warm-ups of objectives."""

from __future__ import annotations

import pytest

import logitpair as lp
from logitpair.objectives.warmup import grown, ramp, smooth_ramp


@pytest.mark.parametrize(("epoch", "warmup", "part"), [(0, 2, 0.0), (0.5, 2, 0.25), (2, 2, 1.0), (5, 2, 1.0), (0, 0, 1.0)])
def test_a_ramp_rises_to_one_and_stays(epoch: float, warmup: float, part: float) -> None:
    assert ramp(epoch, warmup) == part


def test_a_smooth_ramp_grows_as_the_fourth_power_and_then_along_its_tangent() -> None:
    end = smooth_ramp(2, 8)  # of the first quarter
    assert end == pytest.approx(1 / 13)
    assert [smooth_ramp(epoch, 8) for epoch in (0, 1, 1.8)] == pytest.approx([0, end / 2**4, end * 0.9**4])
    assert [smooth_ramp(epoch, 8) for epoch in (2.1, 5, 8, 9)] == pytest.approx([end + 0.2 / 13, end + 6 / 13, 1, 1])
    slopes = [(smooth_ramp(2 + step, 8) - end) / step for step in (-1e-6, 1e-6)]
    assert slopes == pytest.approx([2 / 13, 2 / 13], rel=1e-4)  # no kink
    assert smooth_ramp(0, 0) == 1


@pytest.mark.parametrize(("part", "eps"), [(0, 3e-4), (0.5, 0.15), (1, 0.3)])
def test_an_attack_grows_to_its_radius_and_is_never_of_none(part: float, eps: float) -> None:
    attack = grown(lp.attacks.PGD(lp.Linf(0.3), step_size=0.01, steps=2), part)
    assert attack.threat.eps == pytest.approx(eps)
    assert attack.step_size == pytest.approx(eps / 30)
