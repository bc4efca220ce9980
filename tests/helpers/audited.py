"""Networks that are honest, and the same masked on purpose; what the tests of the audit share."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import logitpair as lp

EPS = 0.2
THREAT = lp.Linf(EPS)
REFERENCE = lp.attacks.PGD(THREAT, step_size=0.02, steps=40)


class Masked(nn.Module):
    """``mask(network, x)`` in the place of the network."""

    def __init__(self, network: nn.Module, mask: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.mask = network, mask

    def forward(self, x: Tensor) -> Tensor:
        return self.mask(self.network, x)


def resized(network: nn.Module, x: Tensor) -> Tensor:
    size = int(torch.randint(5, 8, ()))
    return network(F.interpolate(F.interpolate(x, size=(size, size), mode="bilinear"), size=x.shape[2:], mode="bilinear"))


def dead(network: nn.Module, x: Tensor) -> Tensor:
    """All that the gradient can see is a unit that is off everywhere."""
    return network(x).detach() + F.relu(-x.flatten(1).sum(1, keepdim=True) - 1)


MASKS: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], set[str]]] = {  # and the checks that must fail, at least
    "logits x 1000": (lambda network, x: 1000 * network(x), {"logit_scale", "gradients_cross_entropy", "losses"}),
    "logits / 1000": (lambda network, x: network(x) / 1000, {"logit_scale"}),
    "8-bit input": (lambda network, x: network((255 * x).round() / 255), {"resolution", "gradients_margin"}),
    "4-bit input": (lambda network, x: network((15 * x).round() / 15), {"resolution", "gradients_margin", "black_box"}),
    "random noise": (lambda network, x: network(x + 0.1 * torch.randn_like(x)), {"repeatable"}),
    "random resizing": (resized, {"repeatable"}),
    "dead unit": (dead, {"gradients_margin", "gradients_cross_entropy", "eps"}),
    "argmax": (lambda network, x: F.one_hot(network(x).argmax(1), 10).float(), {"gradients_margin", "resolution", "logits"}),
    "probabilities": (lambda network, x: network(x).softmax(1), {"logits"}),
    "distillation": (lambda network, x: 100 * network(x), {"logit_scale"}),
    "float16": (lambda network, x: (20000 * network(x)).half().float(), {"finite"}),
    "statistics of the batch": (lambda network, x: network((x - x.mean(0, keepdim=True)).clamp(0, 1)), {"batch_independent"}),
}


def failed(audit: lp.Audit) -> set[str]:
    """The checks that did not pass."""
    return {finding["check"] for finding in audit.results["findings"] if not finding["passed"]}
