"""Functions such as ``attacks.External`` takes, by import path."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn

from logitpair.threat import Threat


def signed_step(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
    """The fast gradient sign method, as a script would have it."""
    x = x.requires_grad_()
    nn.functional.cross_entropy(model(x), y, reduction="sum").backward()
    return x + threat.eps * x.grad.sign()


def far_away(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> np.ndarray:
    """Images far outside the ball, as an array."""
    signed_step(model, x, y, threat)
    return 3 - 2 * x.detach().cpu().numpy()


def no_numbers(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> np.ndarray:
    """Images far outside the ball, whose first row of pixels is of no numbers."""
    moved = far_away(model, x, y, threat)
    moved[:, :, 0] = np.nan
    return moved


def noise(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
    """Random numbers of three libraries."""
    return x + threat.eps * (torch.rand_like(x) - float(np.random.rand()) * random.gauss())
