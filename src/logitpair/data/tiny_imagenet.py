"""Tiny ImageNet: 200 classes of ImageNet at 64x64 pixels, 500 training and 50 validation images each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from logitpair.data.dataset import ImageData, MemoryImages, check_fraction, held_out, none_left, require_folder
from logitpair.data.image_dataset import Corrupt, check_corrupt, tell_skipped
from logitpair.data.image_file import Damaged, open_picture
from logitpair.data.parallel import in_threads
from logitpair.errors import InputError
from logitpair.runtime.lazy_imports import import_torchvision
from logitpair.validate import whole

SIZE = 64
_HOLDS = "what tiny-imagenet-200.zip unpacks to: train/, val/, wnids.txt and words.txt"


@dataclass(frozen=True, kw_only=True)
class TinyImageNet(ImageData):
    """Tiny ImageNet as its zip unpacks. Grey images become RGB; ``test`` is the official validation set, since the test set has no labels.

    Labels are the wnids in sorted order, as torchvision's ``ImageFolder`` gives them. The training images of each instance are decoded
    once, on all cores, and held in memory as uint8: 1.2 GB of them all, less than decoding them anew in every epoch would cost in time.
    Validation images are drawn once by a fixed seed from all training images, before damaged ones are left out.

    Args:
        root: the folder ``tiny-imagenet-200``.
        padding: in training, black pixels put around an image before a random 64x64 crop; 0: no crop.
        flip: in training, mirror every second image.
        validation_fraction: share of the training images kept for validation.
        corrupt: ``refuse`` ends with a line that names the first damaged file; ``skip`` leaves damaged files out, with a warning.

    Raises:
        InputError: for values outside their range; and, when used, for files that are missing, damaged, or laid out otherwise.
    """

    root: Path | str | None = Path("data")
    padding: int = 4
    flip: bool = True
    validation_fraction: float = 0.1
    corrupt: Corrupt = "refuse"
    name = "Tiny ImageNet"

    def __post_init__(self) -> None:
        whole("data.padding", self.padding, 0)
        check_fraction(self.validation_fraction)
        check_corrupt(self.corrupt)

    @property
    def classes(self) -> Sequence[str]:
        """The first English name of each."""
        names = dict(line.split("\t", 1) for line in self._lines("words.txt") if "\t" in line)
        return [names.get(wnid, wnid).split(",")[0].strip() for wnid in self._wnids]

    def train(self) -> Dataset[Any]:
        self._test  # noqa: B018  what evaluation will need is looked at before hours of training
        images, kept = self._train
        if not 0 < kept < len(images):
            raise none_left(self.validation_fraction, len(images))
        training = images.part(0, kept)
        return CropAndFlip(training, self.padding, self.flip) if self.padding or self.flip else training

    def validation(self) -> MemoryImages:
        images, kept = self._train
        return images.part(kept, len(images))

    def test(self) -> MemoryImages:
        return self._test

    @cached_property
    def _wnids(self) -> list[str]:
        wnids = sorted(self._lines("wnids.txt"))
        if not wnids or len(set(wnids)) < len(wnids):
            raise InputError(f"--data-dir: wnids.txt in '{self.root}' is empty or names a class twice; accepted: one wnid a line")
        return wnids

    @cached_property
    def _train(self) -> tuple[MemoryImages, int]:
        """All training images in a fixed random order, and how many of them come before those for validation."""
        files: list[tuple[Path, int]] = []
        for label, wnid in enumerate(self._wnids):
            folder = self._root / "train" / wnid / "images"
            found = sorted(folder.glob("*.JPEG"))
            if not found:
                raise InputError(f"--data-dir: no images '{folder}/*.JPEG', though wnids.txt names {wnid}; it must be {_HOLDS}")
            files += [(path, label) for path in found]
        kept, held = held_out(len(files), self.validation_fraction)
        images, there = self._decode([files[position] for position in [*kept, *held]])
        return images, int(there[: len(kept)].sum())

    @cached_property
    def _test(self) -> MemoryImages:
        labels = {wnid: label for label, wnid in enumerate(self._wnids)}
        files: list[tuple[Path, int]] = []
        for line in self._lines("val/val_annotations.txt"):
            name, wnid = [*line.split("\t"), ""][:2]
            if wnid not in labels:
                raise InputError(f"--data-dir: val_annotations.txt has a line '{line}' that names none of wnids.txt's classes")
            files.append((self._root / "val" / "images" / name, labels[wnid]))
        return self._decode(files)[0]

    def _decode(self, files: Sequence[tuple[Path, int]]) -> tuple[MemoryImages, np.ndarray]:
        """The images in this order, without damaged ones where these are skipped, and which of the files are among them."""
        images = torch.zeros(len(files), 3, SIZE, SIZE, dtype=torch.uint8)

        def decode(position: int) -> bool:
            pixels = self._pixels(files[position][0])
            if pixels is not None:
                images[position] = pixels
            return pixels is not None

        there = np.fromiter(in_threads(decode, range(len(files)), "decoding Tiny ImageNet"), bool, len(files))
        labels = torch.tensor([label for _, label in files])
        if there.all():
            return MemoryImages(images, labels), there
        tell_skipped([str(path) for (path, _), found in zip(files, there, strict=True) if not found], len(files))
        return MemoryImages(images[torch.from_numpy(there)], labels[torch.from_numpy(there)]), there

    def _pixels(self, path: Path) -> Tensor | None:
        """uint8 ``[3, 64, 64]``; None for a damaged file that is to be skipped."""
        try:
            picture = open_picture(path)
        except Damaged:
            if self.corrupt == "skip":
                return None
            raise
        if picture.size != (SIZE, SIZE):
            width, height = picture.size
            raise InputError(f"--data-dir: '{path}' is {width}x{height} pixels; accepted: {SIZE}x{SIZE} (others: logitpair.data.Folder)")
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)

    @property
    def _root(self) -> Path:
        return require_folder(self.root, "--data-dir", _HOLDS)

    def _lines(self, name: str) -> list[str]:
        """The lines of a text file that are not empty."""
        path = self._root / name
        try:
            return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise InputError(f"--data-dir: no text file '{path}'; the folder must be {_HOLDS}") from error


class CropAndFlip(Dataset[tuple[Tensor, Tensor]]):
    """Images held in memory, each shifted and mirrored anew; random numbers are PyTorch's global ones.

    Args:
        images: uint8.
        padding: black pixels put around an image before a random crop of its own size.
        flip: mirror every second image.
    """

    def __init__(self, images: MemoryImages, padding: int, flip: bool) -> None:
        v2 = import_torchvision().transforms.v2
        crop = [v2.RandomCrop(images.images.shape[-2:], padding=padding)] if padding else []
        self.images, self.transform = images, v2.Compose([*crop, *([v2.RandomHorizontalFlip()] if flip else [])])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.images[index]
        return self.transform(image), label
