"""Warm-ups of objectives."""

from __future__ import annotations

import pytest

from logitpair.objectives.warmup import ramp


@pytest.mark.parametrize(("epoch", "warmup", "part"), [(0, 2, 0.0), (0.5, 2, 0.25), (2, 2, 1.0), (5, 2, 1.0), (0, 0, 1.0)])
def test_a_ramp_rises_to_one_and_stays(epoch: float, warmup: float, part: float) -> None:
    assert ramp(epoch, warmup) == part
