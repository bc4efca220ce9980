"""What the paper's objective does that its value alone does not show."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp


def test_the_pairing_is_called_with_the_clean_logits_and_then_the_adversarial_ones() -> None:
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(5, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1])
    seen: list[Tensor] = []

    def pairing(clean: Tensor, adversarial: Tensor) -> Tensor:
        seen.extend((clean, adversarial))
        return (clean - adversarial).sum(1)

    attack = lp.attacks.PGD(lp.Linf(0.3), step_size=0.1, steps=3)
    lp.objectives.AdversarialLogitPairing(attack=attack, pairing=pairing)(model, x, y)
    assert torch.allclose(seen[0], model(x))
    assert not torch.allclose(seen[1], model(x))


@pytest.mark.parametrize("kind", [lp.objectives.AdversarialLogitPairing, lp.objectives.AdversarialTraining])
def test_some_of_the_loss_is_adversarial(kind: type[lp.objectives.AdversarialTraining]) -> None:
    attack = lp.attacks.PGD(lp.Linf(0.3), step_size=0.1, steps=3)
    with pytest.raises(lp.InputError, match="clean_weight"):
        kind(attack=attack, clean_weight=1)
    assert kind(attack=attack).clean_weight == 0.5
