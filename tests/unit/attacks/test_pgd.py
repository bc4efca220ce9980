"""What PGD does that no closed form shows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks.base import QueryCounter


class Corner(nn.Module):
    """Logits that depend on the first pixel alone."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 0, 0], -x[:, 0, 0, 0]], 1)


X, Y = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.int64)


def test_where_the_gradient_is_zero_nothing_moves() -> None:
    x_adv = lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=4, random_start=False)(Corner(), X, Y)
    assert torch.allclose(x_adv[:, 0, 0, 0], X[:, 0, 0, 0] - 0.1)
    assert torch.equal(x_adv.flatten(1)[:, 1:], X.flatten(1)[:, 1:])


def test_by_default_it_starts_anywhere_in_the_ball() -> None:
    x_adv = lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=4)(Corner(), X, Y)
    moved = (x_adv - X).flatten(1)[:, 1:].abs()
    assert ((moved > 0) & (moved < 0.1)).all()


def test_in_training_no_forward_is_spent_on_a_score() -> None:
    for early_stop, forwards in ((False, 0), (True, 3)):
        counted = QueryCounter(Corner())
        lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=4, early_stop=early_stop)(counted, X, Y)
        assert (counted.gradients, counted.forwards) == (12, forwards)
