"""PGD that never stops, with the margin at every iterate: what the checks of an attack look at."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.attacks import PGD
from logitpair.attacks.base import Images, Labels, gradient_of
from logitpair.losses import margin, per_example
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource

Margins = Float[Tensor, "iterates batch"]


def trace(model: nn.Module, attack: PGD, x: Images, y: Labels, generator: RandomSource, steps: int | None = None) -> Margins:
    """The margin (above 0: misclassified) at the start and after each step of one restart, ``[steps + 1, batch]``.

    Args:
        model: in eval mode, frozen.
        attack: untargeted; its start, step size and loss are used.
        x, y: a batch.
        generator: of the start.
        steps: to take; the attack's own number if None.
    """
    x_adv, margins = attack.start(x, generator), []
    with torch.enable_grad():
        for _ in range(attack.steps if steps is None else steps):
            x_adv = x_adv.detach().requires_grad_()
            logits = compute_logits(model, x_adv)
            margins.append(margin(logits.detach(), y))
            gradient = gradient_of(per_example(attack.loss, logits, y).sum(), x_adv)
            x_adv = attack.threat.project(x_adv.detach() + attack.step_size * attack.threat.ascent(gradient), x)
    with torch.no_grad():
        margins.append(margin(compute_logits(model, x_adv), y))
    return torch.stack(margins).nan_to_num(nan=torch.inf)  # what is no number is no answer
