"""scikit-learn's handwritten digits: 1,797 real images of 8x8 pixels, embedded, no download."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from logitpair.data.dataset import ImageData, MemoryImages
from logitpair.errors import InputError

_VALIDATION, _TEST = 1200, 1350  # where they begin among the 1,797 images


@dataclass(frozen=True, kw_only=True)
class Digits(ImageData):
    """The digits data set of scikit-learn, shuffled once by a fixed seed into 1,200 / 150 / 447 examples.

    Raises:
        InputError: for a ``root`` other than None: the images come with scikit-learn, and it would be ignored.
    """

    root: Path | str | None = None
    name = "digits"

    def __post_init__(self) -> None:
        if self.root is not None:
            raise InputError(f"--data-dir: the digits come with scikit-learn, none are read from '{self.root}'; leave it out")

    @property
    def classes(self) -> Sequence[str]:
        return [str(digit) for digit in range(10)]

    def train(self) -> MemoryImages:
        return _digits().part(0, _VALIDATION)

    def validation(self) -> MemoryImages:
        return _digits().part(_VALIDATION, _TEST)

    def test(self) -> MemoryImages:
        return _digits().part(_TEST, len(_digits()))


@cache
def _digits() -> MemoryImages:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)  # [1797, 64] from 0 to 16
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(pixels).mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    return MemoryImages(images[order], torch.from_numpy(labels).long()[order])
