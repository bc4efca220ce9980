"""Losses by hand, and what their sign means."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import assume, given, strategies as st
from torch import Tensor

from logitpair import losses

A = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.5, 0.0]])
B = torch.tensor([[1.0, 0.0, 1.0], [0.5, 0.0, 0.0]])
logit_rows = arrays.arrays(np.float64, (4, 5), elements=st.floats(-50, 50)).map(torch.from_numpy)
labels = st.lists(st.integers(0, 4), min_size=4, max_size=4).map(torch.tensor)


@given(logit_rows, labels)
def test_margin_is_positive_exactly_when_misclassified(logits: Tensor, y: Tensor) -> None:
    top = logits.sort(1).values
    assume((top[:, -1] > top[:, -2]).all())  # without ties
    assert torch.equal(losses.margin(logits, y) > 0, logits.argmax(1) != y)


def test_margin_is_zero_on_a_tie() -> None:
    assert losses.margin(torch.zeros(2, 3), torch.tensor([0, 2])).tolist() == [0, 0]


def test_margin_by_hand() -> None:
    assert losses.margin(A, torch.tensor([2, 0])).tolist() == [-2.0, 0.5]


def test_margin_leaves_the_logits_alone() -> None:
    logits = A.clone()
    losses.margin(logits, torch.tensor([2, 0]))
    assert torch.equal(logits, A)


def test_cross_entropy_by_hand() -> None:
    expected = [-4 + math.log(math.exp(1) + math.exp(2) + math.exp(4)), math.log(2 + math.exp(0.5))]
    assert losses.cross_entropy(A, torch.tensor([2, 0])).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pairing", "expected"),
    [
        (losses.squared_l2_mean, [13 / 3, 0.5 / 3]),
        (losses.squared_l2_sum, [13.0, 0.5]),
        (losses.l1_mean, [5 / 3, 1 / 3]),
        (losses.huber_mean, [(0 + 1.5 + 2.5) / 3, 0.25 / 3]),
    ],
)
def test_pairing_by_hand(pairing: losses.Loss, expected: list[float]) -> None:
    assert pairing(A, B).tolist() == pytest.approx(expected)
    assert pairing(B, A).tolist() == pytest.approx(expected)
    assert pairing(A, A).tolist() == [0, 0]
