"""Any folder of images in the ImageFolder layout: ``root/train/<class>/*.jpg`` and ``root/val/<class>/*.jpg``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from logitpair.compat import import_torchvision
from logitpair.data.base import ImageData, require_folder
from logitpair.data.picture import open_picture
from logitpair.errors import InputError
from logitpair.validate import at_least, positive


@dataclass(frozen=True, kw_only=True)
class Folder(ImageData):
    """Photos of one's own, resized so that the shorter side fits and cropped in the centre, as RGB.

    Args:
        root: holds ``train/`` and ``val/``, each with one folder a class, the same classes in both.
        size: height and width of the images the network sees, in pixels.
        validation_share: share of the training images kept for validation, drawn once by a fixed seed.

    Raises:
        InputError: when used, for a missing folder, one without images, or classes that differ between the two.
    """

    root: Path | str | None = None
    size: int = 224
    validation_share: float = 0.1
    name = "folder"

    def __post_init__(self) -> None:
        positive("data.size", self.size)
        at_least("data.validation_share", self.validation_share, 0)
        if self.validation_share >= 1:
            raise InputError(f"data.validation_share must be below 1, not {self.validation_share}")

    @property
    def classes(self) -> Sequence[str]:
        return self._all_train.classes

    def train(self) -> Dataset[Any]:
        if not self._held_out:
            raise InputError(f"data.validation_share: {self.validation_share} of {len(self._all_train)} images leaves none for validation")
        self.test()  # what evaluation will need is looked at before hours of training
        kept = self._order[: len(self._order) - self._held_out]
        return Subset(self._images("train", augment=True), kept)

    def validation(self) -> Dataset[Any]:
        return Subset(self._all_train, self._order[len(self._order) - self._held_out :])

    def test(self) -> Dataset[Any]:
        test = self._images("val", augment=False)
        if test.classes != self._all_train.classes:
            missing = sorted(set(self._all_train.classes) ^ set(test.classes))[:3]
            raise InputError(f"--data-dir: train/ and val/ under '{self.root}' have different classes, such as {', '.join(missing)}")
        return test

    @cached_property
    def _all_train(self) -> Any:
        return self._images("train", augment=False)

    @property
    def _held_out(self) -> int:
        return round(self.validation_share * len(self._all_train))

    @property
    def _order(self) -> list[int]:
        return torch.randperm(len(self._all_train), generator=torch.Generator().manual_seed(0)).tolist()

    def _images(self, split: str, augment: bool) -> Any:
        """torchvision's ``ImageFolder`` of a split."""
        root = require_folder(self.root, "--data-dir", "a folder with train/<class>/ and val/<class>/ of images")
        folder = require_folder(root / split, "--data-dir:", "a folder with one folder of images a class")
        torchvision = import_torchvision()
        v2 = torchvision.transforms.v2
        crop = [v2.Resize(self.size), v2.CenterCrop(self.size)]
        flip = [v2.RandomHorizontalFlip()] if augment else []
        try:
            return torchvision.datasets.ImageFolder(folder, v2.Compose([*crop, *flip, _to_uint8]), loader=open_picture)
        except FileNotFoundError as error:
            raise InputError(f"--data-dir: {str(error).splitlines()[0]}") from error


def _to_uint8(image: object) -> Tensor:
    return import_torchvision().transforms.v2.functional.pil_to_tensor(image)
