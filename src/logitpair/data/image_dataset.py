"""Images that are read from a source when they are needed, and the data sets made of them."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import PIL
from torch import Tensor
from torch.utils.data import Dataset, Subset

from logitpair.data.dataset import ImageData, held_out
from logitpair.data.disk_cache import cached_on_disk
from logitpair.data.image_source import DamagedImage, Source, map_in_threads
from logitpair.data.transforms import Augmentation, Transform, center_crop
from logitpair.errors import InputError
from logitpair.validate import fraction, whole

Split = Literal["train", "test"]
Corrupt = Literal["refuse", "skip"]


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """A source's images as the network sees them: what ``transform`` makes of RGB images of Pillow, uint8 ``[3, height, width]``."""

    def __init__(self, source: Source, transform: Transform) -> None:
        self.source, self.transform = source, transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.source.open(index)), int(self.source.labels[index])

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of the labels."""
        return self.source.classes


@dataclass(frozen=True, kw_only=True)
class ImageFileData(ImageData):
    """A data set of images of any size, as RGB of one size. What a subclass adds is where they lie.

    Validation images are drawn once by a fixed seed from all training images, before damaged ones are left out, so that no damaged file
    moves another image from one split to the other or changes the order of the others.

    Args:
        size: height and width of the images the network sees, in pixels.
        crop_pct: the fraction of the shorter side that the centre crop keeps: it is first resized to ``floor(size / crop_pct)`` pixels.
        grey: one channel of grey instead of three of colour, for networks that take one.
        augmentation: what training changes about an image.
        validation_fraction: fraction of the training images kept for validation.
        corrupt: ``refuse`` ends with a line that names the first damaged image that is met; ``skip`` decodes all at their first use, on
            all cores, keeps in the user's cache folder which are damaged, warns of them and leaves them out.

    Raises:
        InputError: for values outside their range; and, when used, for images that are not laid out as they must be.
    """

    size: int = 224
    crop_pct: float = 1.0
    grey: bool = False
    augmentation: Augmentation = Augmentation()
    validation_fraction: float = 0.1
    corrupt: Corrupt = "refuse"

    def __post_init__(self) -> None:
        whole("data.size", self.size, 1)
        fraction("data.crop_pct", self.crop_pct, zero=False)
        check_splits(self.validation_fraction, self.corrupt)

    @property
    def classes(self) -> Sequence[str]:
        return self._train.classes

    def train(self) -> Dataset[Any]:
        kept, _ = held_out(len(self._train), self.validation_fraction)
        self.test()  # what evaluation will need is looked at before hours of training
        return self._images(self._train, kept, self.augmentation.transform(self.size, self._resize, self.grey))

    def validation(self) -> Dataset[Any]:
        _, held = held_out(len(self._train), self.validation_fraction)
        return self._images(self._train, held, self._crop)

    def test(self) -> Dataset[Any]:
        return self._images(self._test, range(len(self._test)), self._crop)

    @abstractmethod
    def source(self, split: Split) -> Source:
        """All images of the training or of the test set."""

    @cached_property
    def _train(self) -> Source:
        return self.source("train")

    @cached_property
    def _test(self) -> Source:
        return self.source("test")

    @property
    def _crop(self) -> Transform:
        return center_crop(self.size, self._resize, grey=self.grey)

    @property
    def _resize(self) -> int:
        return math.floor(self.size / self.crop_pct)  # as timm rounds, and who reads an exported network's crop_pct

    def _images(self, source: Source, positions: Sequence[int], transform: Transform) -> Subset[tuple[Tensor, int]]:
        if self.corrupt == "skip":
            damaged = set(_damaged(source))
            positions = [position for position in positions if position not in damaged]
        return Subset(ImageFiles(source, transform), positions)


def check_splits(validation_fraction: float, corrupt: str) -> None:
    """Refuse settings of a data set that no splits can be made by."""
    fraction("data.validation_fraction", validation_fraction, one=False)
    if corrupt not in ("refuse", "skip"):
        raise InputError(f"data.corrupt: accepted are refuse and skip, not '{corrupt}'")


def warn_of_skipped(names: Sequence[str], total: int) -> None:
    """Warn of the images that are left out: how many, and the first of them."""
    if names:
        first = ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")
        warnings.warn(f"--data-dir: left out {len(names)} of {total:,} images that are truncated or no images: {first}", stacklevel=2)


def warn_of_gaps(where: str, labels: np.ndarray) -> None:
    """Warn of classes without images where classes are known by their numbers alone, so that nothing else tells of them."""
    without = np.setdiff1d(np.arange(labels.max()), labels)
    if len(without):
        warnings.warn(
            f"{where} has labels from {labels.min()} to {labels.max()}: labels begin at 0, and class {without[0]}"
            f"{f' and {len(without) - 1} more have' if len(without) > 1 else ' has'} no image",
            stacklevel=2,
        )


def warn_of_leak(testing: str, training: str) -> None:
    """Warn of a test set that holds training images: the accuracy on it says nothing of other images."""
    warnings.warn(f"{testing} is in {training} too: the network is tested on images that it is trained on", stacklevel=2)


def _damaged(source: Source) -> list[int]:
    """Positions of the images that cannot be decoded, after a warning of them."""

    def decode_all() -> dict[str, np.ndarray]:
        damaged = map_in_threads(partial(_is_damaged, source), range(len(source)), "looking for damaged images")
        return {"damaged": np.flatnonzero(np.fromiter(damaged, bool, len(source)))}

    key = f"Pillow {PIL.__version__}: {source.signature(range(len(source)))}"  # another version may read what this one cannot
    found = cached_on_disk("damaged", key, decode_all)["damaged"].tolist()
    warn_of_skipped([source.name(position) for position in found], len(source))
    return found


def _is_damaged(source: Source, position: int) -> bool:
    try:
        source.open(position)
    except DamagedImage:
        return True
    return False
