"""What counts as right, and which networks are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.evaluation.attack_run import Correctness


def test_logits_that_are_not_finite_are_never_right() -> None:
    logits = torch.eye(7)[:3]
    logits[1, 1], logits[2, 6] = torch.nan, torch.inf
    correct = Correctness.of(logits, torch.tensor([0, 1, 2]))
    assert correct.top1.tolist() == [True, False, False]
    assert correct.top5 is not None
    assert correct.top5.tolist() == [True, False, False]


def test_a_network_that_is_not_finite_on_some_images_is_refused() -> None:
    class Overflowing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bright = x.flatten(1).mean(1, keepdim=True) > 0.5
            return torch.where(bright, torch.inf, x.flatten(1)[:, :3])

    x = torch.stack([torch.full((1, 2, 2), 0.1), torch.full((1, 2, 2), 0.9)])
    attack = lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1)
    with pytest.raises(lp.InputError, match="logits of 1 of 2 images are not finite"):
        lp.evaluate(Overflowing(), (x, torch.zeros(2, dtype=torch.int64)), attacks={"pgd": attack}, progress=False)
