"""Any folder of images in the ImageFolder layout: ``root/train/<class>/*.jpg`` and ``root/val/<class>/*.jpg``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from logitpair.data.dataset import require_folder
from logitpair.data.image_dataset import Files, ImageFileData, Split
from logitpair.errors import InputError, first_line
from logitpair.runtime.lazy_imports import import_torchvision


@dataclass(frozen=True, kw_only=True)
class Folder(ImageFileData):
    """Photos of one's own, resized so that the shorter side fits and cropped in the centre, as RGB.

    Args:
        root: holds ``train/`` and ``val/``, each with one folder a class, the same classes in both.
        size, crop_pct, augmentation, validation_fraction, corrupt: as for ``ImageFileData``.

    Raises:
        InputError: when used, for a missing folder, one without images, or classes that differ between the two.
    """

    root: Path | str | None = None
    name = "folder"

    @property
    def classes(self) -> Sequence[str]:
        return self._images("train").classes

    def samples(self, split: Split) -> list[tuple[str, int]]:
        """File and label of all images of the training or of the test set.

        Raises:
            InputError: as for the class.
        """
        images, classes = self._images(split), self._images("train").classes
        if images.classes != classes:
            missing = sorted(set(classes) ^ set(images.classes))[:3]
            raise InputError(f"--data-dir: train/ and val/ under '{self.root}' have different classes, such as {', '.join(missing)}")
        return images.samples

    def _source(self, split: Split) -> Files:
        return Files(self.samples(split))

    def _images(self, split: Split) -> Any:
        """torchvision's ``ImageFolder`` of a split, which finds the files."""
        return self._train_images if split == "train" else image_folder(self.root, "val")

    @cached_property
    def _train_images(self) -> Any:
        return image_folder(self.root, "train")


def image_folder(root: Path | str | None, split: str) -> Any:
    """torchvision's ``ImageFolder`` of ``root/split``.

    Raises:
        InputError: for a missing folder, and one without images.
    """
    root = require_folder(root, "--data-dir", "a folder with train/<class>/ and val/<class>/ of images")
    folder = require_folder(root / split, "--data-dir:", "a folder with one folder of images a class")
    try:
        return import_torchvision().datasets.ImageFolder(folder)
    except FileNotFoundError as error:
        raise InputError(f"--data-dir: {first_line(error)}") from error
