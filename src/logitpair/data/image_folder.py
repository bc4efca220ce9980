"""Folders of images in the ImageFolder layout, ``root/train/<class>/*.jpg`` and ``root/val/<class>/*.jpg``: any, and ImageNet's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from logitpair.data.class_folders import class_images, warn_of_missing
from logitpair.data.class_mapping import wnid_names
from logitpair.data.dataset import require_folder
from logitpair.data.image_dataset import ImageFileData, Split, warn_of_leak
from logitpair.data.image_source import FileSource
from logitpair.data.transforms import Augmentation
from logitpair.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Folder(ImageFileData):
    """A custom folder of images, resized so that the shorter side fits and cropped in the centre, as RGB.

    Args:
        root: holds ``train/`` and ``val/``, each with one folder a class; images may lie in folders below. Classes of ``train/`` that
            ``val/`` has no images of are warned of.
        size, crop_pct, grey, augmentation, validation_fraction, corrupt: as for ``ImageFileData``.

    Raises:
        InputError: when used, for a missing folder, one without images, and classes in ``val/`` that ``train/`` has not.
    """

    root: Path | str | None = None
    name = "folder"

    def source(self, split: Split) -> FileSource:
        root = require_folder(self.root, "a folder with train/<class>/ and val/<class>/ of images")
        folder = require_folder(root / ("train" if split == "train" else "val"), "a folder with one folder of images a class")
        images = class_images(folder, may_be_empty=split == "test")
        classes = list(images) if split == "train" else self._train.classes
        if split == "test" and folder.samefile(root / "train"):
            warn_of_leak(f"--data-dir: '{folder}'", "train/")
        if unknown := [name for name in images if name not in classes]:
            raise InputError(f"--data-dir: '{folder}' has classes that train/ beside it has not, such as {', '.join(unknown[:3])}")
        warn_of_missing(folder, [name for name in classes if not images.get(name)], len(classes))
        return FileSource([(path, label) for label, name in enumerate(classes) for path in images.get(name, ())], classes)


@dataclass(frozen=True, kw_only=True)
class ImageNet(Folder):
    """ImageNet-1k, or any part of it, as a ``Folder`` whose classes are named by their wnids, at the size of InceptionV3.

    Labels are the wnids in sorted order, as in torchvision and timm. Training takes random crops, mirrored or not; evaluation the centre
    87.5%. Of ImageNet-1k 12,812 training images are kept for validation. The paper's own pre-processing is not published; this is the
    usual one (Szegedy et al. 2014, arXiv 1409.4842, section 6), without changes of colour.
    """

    size: int = 299
    crop_pct: float = 0.875
    augmentation: Augmentation = Augmentation(scale=(0.08, 1.0))
    validation_fraction: float = 0.01
    name = "ImageNet"

    @property
    def classes(self) -> Sequence[str]:
        """English names where all folders are wnids of ImageNet-1k; the folders' names otherwise."""
        folders = super().classes
        return wnid_names(folders) or folders
