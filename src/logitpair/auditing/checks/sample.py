"""The few images that the checks run on, and how far PGD comes on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from logitpair.attacks import PGD
from logitpair.attacks.base import gradient_of
from logitpair.losses import misclassification_margin, per_example
from logitpair.models.inference import compute_logits, predict
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

    def broken(self, x_adv: Tensor) -> Tensor:
        """Which of these images in place of the sample's are misclassified, ``[batch]``; non-finite logits count as that."""
        return predict(compute_logits(self.model, x_adv)) != self.y if len(x_adv) else torch.zeros_like(self.y, dtype=torch.bool)

    def trajectory(self, attack: PGD, number: int = 0, steps: int | None = None) -> Tensor:
        """The margins at the start and after each step of one restart without early stop, ``[steps + 1, batch]``."""
        x_adv, margins = attack.start(self.x, self.streams(f"restart {number}")), []
        with torch.enable_grad():
            for _ in range(steps or attack.steps):
                x_adv = x_adv.detach().requires_grad_()
                logits = compute_logits(self.model, x_adv)
                margins.append(self._margin(logits.detach()))
                gradient = gradient_of(per_example(attack.loss, logits, self.y).sum(), x_adv)
                x_adv = attack.threat.project(x_adv.detach() + attack.step_size * attack.threat.ascent(gradient), self.x)
        return torch.stack([*margins, self._margin(compute_logits(self.model, x_adv))])

    def _margin(self, logits: Tensor) -> Tensor:
        """The misclassification margin, infinite where logits are not finite, which count as misclassified."""
        return torch.where(torch.isfinite(logits).all(1), misclassification_margin(logits, self.y), torch.inf)


def fraction(rows: Tensor) -> float:
    """The fraction of a sample that the mask chooses."""
    return rows.float().mean().item() if len(rows) else 0.0
