"""Normalisation as part of the model, so that attacks work in pixels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError


class Normalized(nn.Module):
    """Any classifier that wants normalised images, as one that takes pixels in [0, 1].

    Args:
        model: maps normalised images to logits.
        mean, std: one number a channel, in [0, 1] pixel scale.

    Raises:
        InputError: for a ``mean`` outside [0, 1], and a ``std`` outside (0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        for name, values in zip(("mean", "std"), check_normalisation(mean, std), strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        return self.model((x - self.mean) / self.std)


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """The two as plain numbers; refused if they are not one a channel, or not in the unit of the pixels."""
    mean, std = _plain("mean", mean), _plain("std", std)
    if not all(0 <= value <= 1 for value in mean):
        raise InputError(f"mean must lie in [0, 1], the unit of the pixels, not {mean} (divide what is in 0..255 by 255)")
    if not all(0 < value <= 1 for value in std):
        raise InputError(f"std must lie in (0, 1], the unit of the pixels, not {std} (divide what is in 0..255 by 255)")
    return mean, std


def _plain(name: str, values: Sequence[float]) -> list[float]:
    try:
        plain = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a list of numbers, one a channel, not {values!r}") from error
    if not plain:
        raise InputError(f"{name} is empty; accepted: one number a channel")
    return plain
