"""Objectives by hand on a 2 x 3 logit matrix, and their gradients by finite differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import losses
from logitpair.objectives import AdversarialLogitPairing, AdversarialTraining, Objective, StandardTraining

CLEAN = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
ADVERSARIAL = torch.tensor([[0.0, 1.0, 3.0], [0.5, 0.0, 1.0]], dtype=torch.float64)
X = torch.tensor([0.25, 0.75], dtype=torch.float64).view(2, 1, 1, 1)
Y = torch.tensor([0, 2])


def log_sum(*logits: float) -> float:
    return math.log(sum(math.exp(logit) for logit in logits))


CLEAN_LOSS = (log_sum(2, 0, 1) - 2 + log_sum(0, 1, -1) + 1) / 2
ADVERSARIAL_LOSS = (log_sum(0, 1, 3) - 0 + log_sum(0.5, 0, 1) - 1) / 2
# differences clean - adversarial: (2, -1, -2), (-0.5, 1, -2)
L2_SUM = ((4 + 1 + 4) + (0.25 + 1 + 4)) / 2
L1_MEAN = ((2 + 1 + 2) / 3 + (0.5 + 1 + 2) / 3) / 2
HUBER_MEAN = ((1.5 + 0.5 + 1.5) / 3 + (0.125 + 0.5 + 1.5) / 3) / 2


@dataclass(frozen=True)
class Marked(lp.attacks.Attack):
    """Adds 1/8, so that the model below knows an adversarial image from a clean one."""

    threat: lp.Linf = lp.Linf(0.125)

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> Tensor:
        return x + 0.125

    def scaled(self, factor: float) -> Self:
        return self


class Table(nn.Module):
    """Returns the given logits for the clean and the marked images of X."""

    def __init__(self, clean: Tensor = CLEAN, adversarial: Tensor = ADVERSARIAL) -> None:
        super().__init__()
        self.clean, self.adversarial = clean, adversarial

    def forward(self, x: Tensor) -> Tensor:
        rows = {0.25: self.clean[0], 0.75: self.clean[1], 0.375: self.adversarial[0], 0.875: self.adversarial[1]}
        return torch.stack([rows[pixel] for pixel in x.flatten().tolist()])


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (StandardTraining(), CLEAN_LOSS),
        (AdversarialTraining(Marked(), clean_weight=0), ADVERSARIAL_LOSS),  # Madry's, eq. 1
        (AdversarialTraining(Marked()), (CLEAN_LOSS + ADVERSARIAL_LOSS) / 2),  # M-PGD, eq. 2
        (AdversarialTraining(Marked(), clean_weight=0.25), 0.25 * CLEAN_LOSS + 0.75 * ADVERSARIAL_LOSS),
        (AdversarialLogitPairing(Marked(), weight=0), (CLEAN_LOSS + ADVERSARIAL_LOSS) / 2),
        (AdversarialLogitPairing(Marked()), (CLEAN_LOSS + ADVERSARIAL_LOSS) / 2 + 0.5 * L2_SUM / 3),
        (AdversarialLogitPairing(Marked(), weight=2, pairing=losses.squared_l2_sum), (CLEAN_LOSS + ADVERSARIAL_LOSS) / 2 + 2 * L2_SUM),
        (AdversarialLogitPairing(Marked(), weight=1, pairing=losses.l1_mean), (CLEAN_LOSS + ADVERSARIAL_LOSS) / 2 + L1_MEAN),
        (AdversarialLogitPairing(Marked(), weight=1, pairing=losses.huber_mean), (CLEAN_LOSS + ADVERSARIAL_LOSS) / 2 + HUBER_MEAN),
        (AdversarialLogitPairing(Marked(), weight=1, clean_weight=0), ADVERSARIAL_LOSS + L2_SUM / 3),
    ],
)
def test_total_by_hand(objective: Objective, expected: float) -> None:
    assert objective(Table(), X, Y).total.item() == pytest.approx(expected, rel=1e-12)


def test_terms_by_hand() -> None:
    terms = AdversarialLogitPairing(Marked(), weight=7)(Table(), X, Y).terms
    values = {name: term.item() for name, term in terms.items()}
    assert values == pytest.approx({"clean_loss": CLEAN_LOSS, "adversarial_loss": ADVERSARIAL_LOSS, "pairing": L2_SUM / 3})


def test_m_pgd_is_the_mean_over_the_concatenated_2m_examples() -> None:
    concatenated = nn.functional.cross_entropy(torch.cat([CLEAN, ADVERSARIAL]), torch.cat([Y, Y]))
    assert AdversarialTraining(Marked())(Table(), X, Y).total.item() == pytest.approx(concatenated.item(), rel=1e-12)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.margin])
def test_gradients_of_classification_losses_by_finite_differences(loss: losses.Loss) -> None:
    assert torch.autograd.gradcheck(lambda logits: loss(logits, Y), CLEAN.clone().requires_grad_())


@pytest.mark.parametrize("pairing", [losses.squared_l2_mean, losses.squared_l2_sum, losses.l1_mean, losses.huber_mean])
def test_gradients_of_pairings_by_finite_differences(pairing: losses.Loss) -> None:
    a, b = CLEAN.clone(), ADVERSARIAL.clone() + 0.03  # away from the corners of l1 and Huber
    assert torch.autograd.gradcheck(pairing, (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize(
    "objective",
    [
        StandardTraining(),
        AdversarialTraining(Marked()),
        AdversarialTraining(Marked(), clean_weight=0),
        AdversarialLogitPairing(Marked()),
        AdversarialLogitPairing(Marked(), weight=2, pairing=losses.squared_l2_sum, clean_weight=0.25),
    ],
)
def test_gradient_of_the_total_with_respect_to_all_logits_by_finite_differences(objective: Objective) -> None:
    def total(clean: Tensor, adversarial: Tensor) -> Tensor:
        return objective(Table(clean, adversarial), X, Y).total + 0 * (clean.sum() + adversarial.sum())

    assert torch.autograd.gradcheck(total, (CLEAN.clone().requires_grad_(), ADVERSARIAL.clone().requires_grad_()))


def test_pairing_sends_gradient_through_both_sides() -> None:
    clean, adversarial = CLEAN.clone().requires_grad_(), ADVERSARIAL.clone().requires_grad_()
    AdversarialLogitPairing(Marked())(Table(clean, adversarial), X, Y).terms["pairing"].backward()
    torch.testing.assert_close(clean.grad, (CLEAN - ADVERSARIAL) * 2 / 3 / 2)
    torch.testing.assert_close(adversarial.grad, -clean.grad)
