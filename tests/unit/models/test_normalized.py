"""Normalisation inside the model, in the unit of the pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from logitpair import InputError
from logitpair.models import Normalized


def test_pixels_are_normalised_channel_by_channel() -> None:
    x = torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([(x[:, 0] - 0.25) / 0.5, (x[:, 1] - 1) / 0.8], 1)
    torch.testing.assert_close(Normalized(nn.Flatten(), [0.25, 1.0], [0.5, 0.8])(x), expected.flatten(1))


@pytest.mark.parametrize("values", [(0.25, 0.5), torch.tensor([0.25, 0.5]), np.array([0.25, 0.5])])
def test_numbers_of_any_kind_leave_images_in_float32(values: Any, no_shape_checks: None) -> None:
    assert Normalized(nn.Flatten(), values, values)(torch.rand(1, 2, 1, 1)).dtype == torch.float32


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([123.0], [58.0], r"mean must lie in \[0, 1\], the unit of the pixels, not \[123.0\] \(divide what is in 0..255 by 255\)"),
        ([-0.5], [0.5], "mean must lie in"),
        ([math.nan], [0.5], "mean must lie in"),
        ([0.5], [0.0], r"std must lie in \(0, 1\]"),
        ([0.5], [58.0], r"std must lie in \(0, 1\], .* \(divide what is in 0..255 by 255\)"),
        ([0.5], [math.inf], r"std must lie in \(0, 1\]"),
        (0.5, 0.5, "mean must be a list of numbers, one a channel, not 0.5"),
        ([0.5], None, "std must be a list of numbers, one a channel, not None"),
        ([[0.5]], [[0.5]], "mean must be a list of numbers"),
        ([], [], "mean is empty"),
    ],
)
def test_numbers_of_another_unit_or_form_are_refused(mean: Any, std: Any, message: str, no_shape_checks: None) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        Normalized(nn.Identity(), mean, std)
