"""How the pixels that a network sees are cut out of an image."""

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
    """What training changes about an image, by torchvision's ``transforms.v2``.

    Args:
        scale: least and greatest fraction of the image's area that a random crop keeps; None: the centre, as in evaluation.
        ratio: least and greatest width / height of that crop, before it is resized to a square.
        flip: mirror every second image, left to right; not for text or digits.

    Raises:
        InputError: for fractions that are not 0 < least <= greatest <= 1, and ratios that are not 0 < least <= greatest.
    """

    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True

    def __post_init__(self) -> None:
        check_scale("data.augmentation.scale", self.scale)
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise InputError(f"data.augmentation.ratio: accepted is 0 < least <= greatest, not {list(self.ratio)}")

    def transform(self, size: int, resize: int, grey: bool = False) -> Transform:
        """From an RGB image of Pillow to uint8 ``[3, size, size]``, as ``center_crop``; random numbers are PyTorch's global ones."""
        v2 = import_torchvision().transforms.v2
        crop = center_crop(size, resize, grey=grey)
        if self.scale is not None:
            crop = v2.Compose([v2.RandomResizedCrop(size, scale=self.scale, ratio=self.ratio), *_to_tensor(grey)])
        return v2.Compose([crop, v2.RandomHorizontalFlip()]) if self.flip else crop


def check_scale(name: str, scale: tuple[float, float] | None) -> None:
    """Refuse what is no least and greatest fraction of an image's area."""
    if scale is not None and not 0 < scale[0] <= scale[1] <= 1:
        raise InputError(f"{name}: accepted is 0 < least <= greatest <= 1, not {list(scale)}")


def center_crop(size: int, resize: int, interpolation: str = "bilinear", grey: bool = False) -> Transform:
    """The centre of an RGB image of Pillow, whose shorter side is first resized to ``resize`` pixels, as uint8 ``[3, size, size]``.

    With ``grey`` it is ``[1, size, size]``, the luma of ITU-R 601.
    """
    v2 = import_torchvision().transforms.v2
    return v2.Compose([v2.Resize(resize, v2.InterpolationMode(interpolation)), v2.CenterCrop(size), *_to_tensor(grey)])


def _to_tensor(grey: bool) -> list[Transform]:
    v2 = import_torchvision().transforms.v2
    return [v2.Grayscale(), v2.PILToTensor()] if grey else [v2.PILToTensor()]
