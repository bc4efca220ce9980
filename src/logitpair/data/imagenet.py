"""ImageNet-1k, or any part of it, in the ImageFolder layout: ``root/train/<wnid>/*.JPEG`` and ``root/val/<wnid>/*.JPEG``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from logitpair.data.class_mapping import wnid_names
from logitpair.data.image_folder import Folder
from logitpair.data.transforms import Augmentation


@dataclass(frozen=True, kw_only=True)
class ImageNet(Folder):
    """ImageNet at the size of InceptionV3. Training takes random crops, mirrored or not; evaluation the centre 87.5%.

    Labels are the wnids in sorted order, as in torchvision and timm. There may be any number of classes. The paper's own pre-processing
    is not published; this is the usual one (Szegedy et al. 2014, arXiv 1409.4842, section 6), without changes of colour.

    Args:
        root: holds ``train/`` and ``val/``, each with one folder a class, named by its wnid.
        size, crop_pct, augmentation, corrupt: as for ``ImageFileData``.
        validation_fraction: fraction of the training images kept for validation; of ImageNet-1k 12,812.
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
