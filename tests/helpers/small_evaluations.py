"""What tests of evaluations share: a suite of small attacks, and how two evaluations are compared."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import PGD

BALL = lp.Linf(0.1)
WEAK = PGD(BALL, step_size=0.05, steps=2)
STRONG = PGD(BALL, step_size=0.02, steps=10, restarts=2)
SUITE = {"weak": WEAK, "strong": STRONG, "rand": PGD(BALL, step_size=0.05, steps=3, target=lp.attacks.RandomTarget())}

Pair = tuple[Tensor, Tensor]


def evaluate(model: nn.Module, data: lp.data.Data, **options: object) -> lp.Evaluation:
    return lp.evaluate(model, data, **{"attacks": SUITE, "progress": False, **options})


def same_ledger(a: lp.Evaluation, b: lp.Evaluation, only: str = "") -> None:
    assert {key for key in a.ledger if only in key} == {key for key in b.ledger if only in key}
    for key in a.ledger:
        if only in key:
            np.testing.assert_allclose(a.ledger[key], b.ledger[key], rtol=0, atol=1e-9, err_msg=key)
