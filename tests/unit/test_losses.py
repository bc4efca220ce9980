"""Losses by hand, and what their sign means."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor, nn

from logitpair import InputError, losses
from logitpair.attacks import APGD, PGD, DiversifiedPGD
from logitpair.threat import Linf

A = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.5, 0.0]])
B = torch.tensor([[1.0, 0.0, 1.0], [0.5, 0.0, 0.0]])
logit_rows = arrays.arrays(np.float64, (4, 5), elements=st.floats(-50, 50)).map(torch.from_numpy)
gaps = arrays.arrays(np.float64, (4, 5), elements=st.floats(0.01, 20)).map(lambda between: torch.from_numpy(between).cumsum(1))
orders = st.permutations(range(5))
distinct_rows = st.tuples(gaps, orders).map(lambda drawn: drawn[0][:, drawn[1]] - 50)  # without ties
labels = st.lists(st.integers(0, 4), min_size=4, max_size=4).map(torch.tensor)


@given(distinct_rows, labels)
def test_margin_is_positive_exactly_when_misclassified(logits: Tensor, y: Tensor) -> None:
    assert torch.equal(losses.misclassification_margin(logits, y) > 0, logits.argmax(1) != y)


def test_margin_is_zero_on_a_tie() -> None:
    assert losses.misclassification_margin(torch.zeros(2, 3), torch.tensor([0, 2])).tolist() == [0, 0]


def test_margin_by_hand() -> None:
    assert losses.misclassification_margin(A, torch.tensor([2, 0])).tolist() == [-2.0, 0.5]


def test_margin_leaves_the_logits_alone() -> None:
    logits = A.clone()
    losses.misclassification_margin(logits, torch.tensor([2, 0]))
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


@given(distinct_rows, labels, st.floats(-20, 20), st.floats(0.1, 100))
def test_dlr_does_not_change_when_the_logits_are_shifted_or_scaled(logits: Tensor, y: Tensor, shift: float, scale: float) -> None:
    changed = scale * (logits + shift)
    torch.testing.assert_close(losses.dlr(changed, y), losses.dlr(logits, y), rtol=1e-7, atol=1e-7)
    target = (y + 1) % 5
    torch.testing.assert_close(losses.targeted_dlr(changed, y, target), losses.targeted_dlr(logits, y, target), rtol=1e-7, atol=1e-7)


@given(logit_rows, labels)
def test_dlr_has_the_sign_of_the_margin(logits: Tensor, y: Tensor) -> None:
    assert torch.equal(losses.dlr(logits, y).sign(), losses.misclassification_margin(logits, y).sign())


@given(logit_rows, labels)
def test_a_targeted_loss_is_positive_only_when_misclassified_and_the_best_target_s_is_the_margin(logits: Tensor, y: Tensor) -> None:
    each = torch.stack([losses.targeted_margin(logits, y, torch.full_like(y, k)) for k in range(5)], 1)
    assert torch.equal(each.scatter(1, y[:, None], -torch.inf).amax(1), losses.misclassification_margin(logits, y))
    dlr = torch.stack([losses.targeted_dlr(logits, y, torch.full_like(y, k)) for k in range(5)], 1)
    assert torch.equal(dlr.sign(), each.sign())


def test_dlr_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0, 0.0], [3.0, -1.0, 2.0, 2.5]])
    assert losses.dlr(logits, torch.tensor([2, 1])).tolist() == pytest.approx([-(4 - 2) / (4 - 1), -(-1 - 3) / (3 - 2)])
    found = losses.targeted_dlr(logits, torch.tensor([2, 1]), torch.tensor([0, 3]))
    assert found.tolist() == pytest.approx([-(4 - 1) / (4 - 0.5), -(-1 - 2.5) / (3 - 0.5)])
    assert losses.targeted_margin(logits, torch.tensor([2, 1]), torch.tensor([0, 3])).tolist() == [-3.0, 3.5]


@pytest.mark.parametrize("logits", [torch.zeros(2, 5), torch.tensor([[7.0, 7, 7, 7, 1], [0, 0, 0, 0, 9]]), 1e30 * torch.eye(5)[:2]])
@pytest.mark.parametrize("loss", [lambda z, y: losses.dlr(z, y), lambda z, y: losses.targeted_dlr(z, y, y - 1)])
def test_dlr_and_its_gradient_are_numbers_on_ties(logits: Tensor, loss: losses.Loss) -> None:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, torch.tensor([1, 4]))
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def test_dlr_of_too_few_classes_is_refused_with_what_to_use_instead() -> None:
    y = torch.tensor([0, 1])
    with pytest.raises(InputError, match="dlr needs at least 3 classes and the model has 2; use misclassification_margin"):
        losses.dlr(A[:, :2], y)
    with pytest.raises(InputError, match="targeted_dlr needs at least 4 classes and the model has 3; use targeted_margin"):
        losses.targeted_dlr(A, y, 1 - y)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (os.system, r"(system cannot be called with logits and labels|must take \(logits, y\)).*"),
        (F.cross_entropy, r"torch.nn.functional.cross_entropy gives \[\]; accepted: "),  # the batch's mean
        (lambda logits, y: logits, r"gives \[2, 3\]; accepted: "),
        (lambda logits, y: None, r"gives NoneType; accepted: "),
    ],
)
@pytest.mark.parametrize("attack", [PGD(Linf(0.1), step_size=0.1, steps=1), APGD(Linf(0.1), steps=1), DiversifiedPGD(Linf(0.1), steps=1)])
def test_a_function_that_is_no_loss_is_refused_in_one_line(attack: Any, loss: losses.Loss, said: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    nn.init.normal_(model[1].weight, std=1e-3)
    model[1].bias.data = torch.tensor([1.0, 0, 0])  # no start is misclassified, so that the loss is looked at
    with pytest.raises(InputError, match=f"^loss: .*{said}") as refused:
        replace(attack, loss=loss)(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 0]))
    assert "\n" not in str(refused.value)


def test_clearly_above_overlooks_rounding_and_nothing_else() -> None:
    value = torch.tensor([1.0, 1.0, 1e-30, 0.0, -1.0, float("nan"), 1.0])
    other = torch.tensor([1.0 - 1e-7, 0.999, 0.0, -1e-30, -1.0 - 1e-7, 0.0, float("nan")])
    assert losses.clearly_above(value, other).tolist() == [False, True, True, True, False, False, False]
