"""Small images of one size: decoded once, held in memory, and changed anew whenever training reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from logitpair.data.dataset import MemoryImages
from logitpair.data.image_dataset import Corrupt, warn_of_skipped
from logitpair.data.image_source import DamagedImage, map_in_threads, open_image
from logitpair.data.transforms import Transform
from logitpair.errors import InputError
from logitpair.runtime.lazy_imports import import_torchvision


def decode(
    files: Sequence[tuple[Path | str, int]], accepted: int, *, size: int, corrupt: Corrupt = "refuse", description: str
) -> tuple[MemoryImages, np.ndarray]:
    """Image files with their labels, in their order, without damaged ones where these are skipped; and which of the files are among them.

    Args:
        files: path and label of each.
        accepted: height and width that each must have, in pixels.
        size: height and width that it is resized to, at most as large.
        corrupt: what is done about damaged files, as of ``ImageFileData``.
        description: of the work, for its progress bar.

    Raises:
        InputError: for a damaged file, unless they are skipped, and one of another size.
    """
    images = torch.zeros(len(files), 3, size, size, dtype=torch.uint8)
    labels = torch.tensor([label for _, label in files])

    def read(position: int) -> bool:
        path = files[position][0]
        try:
            image = open_image(path)
        except DamagedImage:
            if corrupt == "refuse":
                raise
            return False
        if image.size != (accepted, accepted):
            found = "{}x{}".format(*image.size)
            raise InputError(f"--data-dir: '{path}' is {found} pixels; accepted: {accepted}x{accepted} (others: logitpair.data.Folder)")
        resized = image.resize((size, size), Image.Resampling.BOX)  # each pixel the mean of those it covers
        images[position] = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
        return True

    intact = np.fromiter(map_in_threads(read, range(len(files)), description), bool, len(files))
    if not intact.all():
        warn_of_skipped([str(path) for (path, _), found in zip(files, intact, strict=True) if not found], len(files))
        images, labels = images[torch.from_numpy(intact)], labels[torch.from_numpy(intact)]
    return MemoryImages(images, labels), intact


def augmented(images: MemoryImages, size: int, *, padding: int, flip: bool, scale: tuple[float, float] | None = None) -> Dataset[Any]:
    """The images as training sees them: cropped at random out of ``padding`` black pixels or to ``scale`` of the area, and mirrored."""
    v2: Any = import_torchvision().transforms.v2
    crop = [v2.RandomCrop(size, padding=padding)] if padding else []
    if scale is not None:
        crop = [v2.RandomResizedCrop(size, scale=scale, interpolation=v2.InterpolationMode.BICUBIC)]
    steps = [*crop, v2.RandomHorizontalFlip()] if flip else crop
    return AugmentedImages(images, v2.Compose(steps)) if steps else images


class AugmentedImages(Dataset[tuple[Tensor, Tensor]]):
    """Images held in memory, each transformed anew whenever it is read."""

    def __init__(self, images: MemoryImages, transform: Transform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.images[index]
        return self.transform(image), label
