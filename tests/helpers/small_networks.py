"""What tests of networks that logitpair did not train share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from logitpair import InputError


def small_net(seed: int = 0, classes: int = 5) -> nn.Module:
    """A network with BatchNorm and dropout for RGB images of any size, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(4, classes),
        ]
        model = nn.Sequential(*layers)
    model[1].running_mean.fill_(0.1)
    return model.eval()


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    assert text.startswith("--"), text
    return text


def gradient(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]
