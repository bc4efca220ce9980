"""The few images that the checks run on, and how far PGD comes on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from logitpair.attacks import PGD
from logitpair.attacks.base import gradient_of
from logitpair.losses import misclassification_margin, per_example
from logitpair.models.inference import compute_logits
from logitpair.rng import ExampleStreams, derive_seed


@dataclass(frozen=True)
class Sample:
    """Images, their labels, and the network, frozen in eval mode."""

    model: nn.Module
    x: Tensor
    y: Tensor
    seed: int

    def streams(self, purpose: str) -> ExampleStreams:
        """Random numbers of one purpose."""
        return ExampleStreams(derive_seed(self.seed, purpose), torch.arange(len(self.x)))

    def only(self, rows: Tensor) -> Sample:
        """Those that the mask chooses."""
        return replace(self, x=self.x[rows], y=self.y[rows])

    def margins(self, x_adv: Tensor) -> Tensor:
        """The misclassification margin at these images in place of the sample's, ``[batch]``."""
        return misclassification_margin(compute_logits(self.model, x_adv), self.y)

    def trajectory(self, attack: PGD, number: int = 0, steps: int | None = None) -> Tensor:
        """The margins at the start and after each step of one restart without early stop, ``[steps + 1, batch]``."""
        x_adv, margins = attack.start(self.x, self.streams(f"restart {number}")), []
        with torch.enable_grad():
            for _ in range(steps or attack.steps):
                x_adv = x_adv.detach().requires_grad_()
                logits = compute_logits(self.model, x_adv)
                margins.append(misclassification_margin(logits.detach(), self.y))
                gradient = gradient_of(per_example(attack.loss, logits, self.y).sum(), x_adv)
                x_adv = attack.threat.project(x_adv.detach() + attack.step_size * attack.threat.ascent(gradient), self.x)
        margins.append(self.margins(x_adv))
        return torch.stack(margins).nan_to_num(nan=torch.inf)  # non-finite logits count as misclassified


def fraction(rows: Tensor) -> float:
    """The fraction of a sample that the mask chooses."""
    return rows.float().mean().item() if len(rows) else 0.0
