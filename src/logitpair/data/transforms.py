"""How the pixels that a network sees are cut out of a picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from logitpair.errors import InputError
from logitpair.runtime.lazy_imports import import_torchvision

Transform = Callable[[Any], Tensor]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What training changes about a picture, by torchvision's ``transforms.v2``.

    Args:
        scale: least and greatest share of the picture's area that a random crop keeps; None: the centre, as in evaluation.
        ratio: least and greatest width / height of that crop, before it is resized to a square.
        flip: mirror every second picture, left to right; not for text or digits.

    Raises:
        InputError: for shares that are not 0 < least <= greatest <= 1, and ratios that are not 0 < least <= greatest.
    """

    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"data.augmentation.scale: accepted is 0 < least <= greatest <= 1, not {list(self.scale)}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise InputError(f"data.augmentation.ratio: accepted is 0 < least <= greatest, not {list(self.ratio)}")

    def transform(self, size: int, crop_pct: float) -> Transform:
        """From an RGB picture of Pillow to uint8 ``[3, size, size]``; random numbers are PyTorch's global ones."""
        v2 = import_torchvision().transforms.v2
        crop = _centre(size, crop_pct) if self.scale is None else [v2.RandomResizedCrop(size, scale=self.scale, ratio=self.ratio)]
        return v2.Compose([*crop, *([v2.RandomHorizontalFlip()] if self.flip else []), to_uint8])


def centre(size: int, crop_pct: float) -> Transform:
    """The centre of an RGB picture of Pillow, as uint8 ``[3, size, size]``.

    Args:
        size: height and width, in pixels.
        crop_pct: the share of the shorter side that is kept: it is first resized to ``floor(size / crop_pct)`` pixels, as in timm.
    """
    return import_torchvision().transforms.v2.Compose([*_centre(size, crop_pct), to_uint8])


def to_uint8(picture: Any) -> Tensor:
    """The pixels of an RGB picture of Pillow, uint8 ``[3, height, width]``."""
    return import_torchvision().transforms.v2.functional.pil_to_tensor(picture)


def _centre(size: int, crop_pct: float) -> list[Any]:
    v2 = import_torchvision().transforms.v2
    return [v2.Resize(math.floor(size / crop_pct + 1e-9)), v2.CenterCrop(size)]
