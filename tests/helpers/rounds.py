"""Rounds of a search that never ran; what the tests of the audit's decisions share."""

from __future__ import annotations

import numpy as np

import logitpair as lp
from logitpair.auditing.convergence import Round
from logitpair.auditing.strategies import SearchStrategy
from logitpair.storage.results import SearchRound

CHEAP = SearchStrategy("cheap", lambda repetition: lp.attacks.Unperturbed(), 10.0, first_on_all=True)
EXPENSIVE = SearchStrategy("expensive", lambda repetition: lp.attacks.Unperturbed(), 50.0)


def done(
    strategy: SearchStrategy, attacked: int, broken: int, *, of: int | None = None, first: int = 0, broken_nearest: bool = False
) -> Round:
    """A round on the nearest images ``of`` so many still correct (None: on all of them), from the ``first``; what it broke were the
    nearest of them, or some at equal distances."""
    of = attacked if of is None else of
    record = SearchRound(
        strategy=strategy.name,
        repetition=0,
        attacked=attacked,
        broken=broken,
        still_correct=of - broken,
        gradients_per_example=0,
        forwards_per_example=0,
        seconds=0,
    )
    rows = np.arange(broken) if broken_nearest else np.arange(broken) * attacked // max(1, broken)
    return Round(record, strategy.cost * attacked, (np.arange(first, first + attacked) + 0.5) / of, np.isin(np.arange(attacked), rows))
