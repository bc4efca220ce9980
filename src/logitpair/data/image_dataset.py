"""Pictures that are read when they are asked for, wherever they lie, and the data sets made of them."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset

from logitpair.data.dataset import ImageData, check_fraction, held_out, none_left
from logitpair.data.disk_cache import remembered
from logitpair.data.image_file import Damaged, open_picture
from logitpair.data.parallel import in_threads
from logitpair.data.transforms import Augmentation, Transform, centre
from logitpair.errors import InputError
from logitpair.validate import whole

Split = Literal["train", "test"]
Corrupt = Literal["refuse", "skip"]


class Source(ABC):
    """Where labelled pictures lie."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def label(self, position: int) -> int:
        """The class of one, from 0."""

    @abstractmethod
    def name(self, position: int) -> str:
        """What messages call one."""

    @abstractmethod
    def open(self, position: int) -> Image.Image:
        """One as RGB, the right way up.

        Raises:
            Damaged: if it is truncated or no image.
        """

    @abstractmethod
    def told(self, positions: Iterable[int]) -> str:
        """All that is known of them without reading them, wherever they lie: another text for other pictures or labels."""


class Files(Source):
    """Pictures in a file each.

    Args:
        samples: path and label of each.
    """

    def __init__(self, samples: Sequence[tuple[str, int]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def label(self, position: int) -> int:
        return self.samples[position][1]

    def name(self, position: int) -> str:
        return self.samples[position][0]

    def open(self, position: int) -> Image.Image:
        return open_picture(self.samples[position][0])

    def told(self, positions: Iterable[int]) -> str:
        return tell_files([self.samples[position] for position in positions])


def tell_files(samples: Sequence[tuple[str, int]]) -> str:
    """Name below their common folder, label, size and time of change of each file."""
    folder = os.path.commonpath([os.path.dirname(path) for path, _ in samples]) if samples else ""
    told = [(os.path.relpath(path, folder), label, os.stat(path)) for path, label in samples]
    return repr([(name, label, stat.st_size, stat.st_mtime_ns) for name, label, stat in told])


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """A source's pictures as the network sees them.

    Args:
        source: where they lie.
        transform: from an RGB picture of Pillow to uint8 ``[3, height, width]``.
    """

    def __init__(self, source: Source, transform: Transform) -> None:
        self.source, self.transform = source, transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.source.open(index)), self.source.label(index)

    def label(self, index: int) -> int:
        """The label alone, without opening the picture."""
        return self.source.label(index)


@dataclass(frozen=True, kw_only=True)
class ImageFileData(ImageData):
    """A data set of pictures of any size, as RGB of one size. What a subclass adds is where they lie.

    Validation images are drawn once by a fixed seed from all training images, before damaged ones are left out, so that no damaged file
    moves another image from one part to the other or changes the order of the others.

    Args:
        size: height and width of the images the network sees, in pixels.
        crop_pct: the share of the shorter side that the centre crop keeps: it is first resized to ``floor(size / crop_pct)`` pixels.
        augmentation: what training changes about a picture.
        validation_fraction: share of the training images kept for validation.
        corrupt: ``refuse`` ends with a line that names the first damaged picture that is met; ``skip`` decodes all at their first use, on
            all cores, remembers the damaged ones in the user's cache folder, tells them in a warning and leaves them out.

    Raises:
        InputError: for values outside their range; and, when used, for pictures that are not laid out as they must be.
    """

    size: int = 224
    crop_pct: float = 1.0
    augmentation: Augmentation = Augmentation()
    validation_fraction: float = 0.1
    corrupt: Corrupt = "refuse"

    def __post_init__(self) -> None:
        whole("data.size", self.size, 1)
        if not 0 < self.crop_pct <= 1:
            raise InputError(f"data.crop_pct must be above 0 and at most 1, not {self.crop_pct}")
        check_fraction(self.validation_fraction)
        check_corrupt(self.corrupt)

    def train(self) -> Dataset[Any]:
        kept, held = held_out(len(self._train), self.validation_fraction)
        if not (kept and held):
            raise none_left(self.validation_fraction, len(self._train))
        self.test()  # what evaluation will need is looked at before hours of training
        pictures = ImageFiles(self._train, self.augmentation.transform(self.size, self.crop_pct))
        return Subset(pictures, readable(self._train, kept, self.corrupt))

    def validation(self) -> Dataset[Any]:
        _, held = held_out(len(self._train), self.validation_fraction)
        return Subset(ImageFiles(self._train, centre(self.size, self.crop_pct)), readable(self._train, held, self.corrupt))

    def test(self) -> Dataset[Any]:
        pictures = ImageFiles(self._test, centre(self.size, self.crop_pct))
        left = readable(self._test, range(len(pictures)), self.corrupt)
        return pictures if len(left) == len(pictures) else Subset(pictures, left)

    @cached_property
    def _train(self) -> Source:
        return self._source("train")

    @cached_property
    def _test(self) -> Source:
        return self._source("test")

    @abstractmethod
    def _source(self, split: Split) -> Source:
        """All pictures of the training or of the test set."""


def check_corrupt(corrupt: str) -> None:
    """Refuse what says neither to refuse nor to skip.

    Raises:
        InputError: naming ``data.corrupt``.
    """
    if corrupt not in ("refuse", "skip"):
        raise InputError(f"data.corrupt: accepted are refuse and skip, not '{corrupt}'")


def readable(source: Source, positions: Sequence[int], corrupt: Corrupt) -> Sequence[int]:
    """The positions without those of damaged pictures where these are to be skipped; all of them otherwise."""
    if corrupt == "refuse":
        return positions
    damaged = set(_damaged(source))
    return [position for position in positions if position not in damaged]


def _damaged(source: Source) -> list[int]:
    """Positions of the pictures that cannot be decoded, which are told."""

    def look() -> dict[str, np.ndarray]:
        looks = in_threads(lambda position: _is_damaged(source, position), range(len(source)), "looking for damaged pictures")
        return {"damaged": np.flatnonzero(np.fromiter(looks, bool, len(source)))}

    found = remembered("damaged", source.told(range(len(source))), look)["damaged"].tolist()
    tell_skipped([source.name(position) for position in found], len(source))
    return found


def _is_damaged(source: Source, position: int) -> bool:
    try:
        source.open(position)
    except Damaged:
        return True
    return False


def tell_skipped(names: Sequence[str], of: int) -> None:
    """Warn of the pictures that are left out: how many, and the first of them."""
    if names:
        first = ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")
        warnings.warn(f"--data-dir: left out {len(names)} of {of:,} images that are truncated or no images: {first}", stacklevel=2)
