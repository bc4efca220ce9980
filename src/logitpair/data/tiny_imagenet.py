"""Tiny ImageNet: 200 classes of ImageNet at 64x64 pixels, 500 training and 50 validation images each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from logitpair.data.class_folders import images_in
from logitpair.data.dataset import ImageData, MemoryImages, held_out, require_folder
from logitpair.data.image_dataset import Corrupt, check_splits
from logitpair.data.small_images import augmented, decode
from logitpair.data.transforms import check_scale
from logitpair.errors import InputError
from logitpair.validate import whole

SIZE = 64
LAYOUT = "what tiny-imagenet-200.zip unpacks to: train/, val/, wnids.txt and words.txt"


@dataclass(frozen=True, kw_only=True)
class TinyImageNet(ImageData):
    """Tiny ImageNet as its zip unpacks. Grey images become RGB; ``test`` is the official validation set, since the test set has no labels.

    Labels are the wnids in sorted order, as torchvision's ``ImageFolder`` gives them. The training images of each instance are decoded
    once, on all cores, and held in memory as uint8, 1.2 GB of them all. Validation images are drawn once by a fixed seed from all
    training images, before damaged ones are left out.

    Args:
        root: the folder ``tiny-imagenet-200``.
        size: height and width that images are resized to when they are decoded, in pixels, at most 64.
        padding: in training, black pixels added around an image before a random crop of its size; 0: no crop.
        scale: in training, least and greatest fraction of the image's area that a random crop keeps, of a width between 3/4 and 4/3 of
            its height, before it is resized (bicubic); it takes the place of ``padding``. None: no such crop.
        flip: in training, mirror every second image.
        validation_fraction: fraction of the training images kept for validation.
        corrupt: ``refuse`` ends with a line that names the first damaged file; ``skip`` leaves damaged files out, with a warning.

    Raises:
        InputError: for values outside their range; and, when used, for files that are missing, damaged, or laid out otherwise.
    """

    root: Path | str | None = Path("data")
    size: int = SIZE
    padding: int = 4
    scale: tuple[float, float] | None = None
    flip: bool = True
    validation_fraction: float = 0.1
    corrupt: Corrupt = "refuse"
    name = "Tiny ImageNet"

    def __post_init__(self) -> None:
        whole("data.size", self.size, 1)
        if self.size > SIZE:
            raise InputError(f"data.size must be at most {SIZE}, not {self.size}")
        whole("data.padding", self.padding, 0)
        check_scale("data.scale", self.scale)
        check_splits(self.validation_fraction, self.corrupt)

    @property
    def classes(self) -> Sequence[str]:
        """The first English name of each."""
        names = dict(line.split("\t", 1) for line in self._lines("words.txt") if "\t" in line)
        return [names.get(wnid, wnid).split(",")[0].strip() for wnid in self._wnids]

    def train(self) -> Dataset[Any]:
        self.test()  # what evaluation will need is looked at before hours of training
        images, kept = self._train
        return augmented(images.part(0, kept), self.size, padding=self.padding, scale=self.scale, flip=self.flip)

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
            found = images_in(folder)
            if not found:
                raise InputError(f"--data-dir: no images in '{folder}', though wnids.txt names {wnid}; it must be {LAYOUT}")
            files += [(path, label) for path in found]
        kept, held = held_out(len(files), self.validation_fraction)
        images, intact = self._decode([files[position] for position in kept + held])
        return images, int(intact[: len(kept)].sum())

    @cached_property
    def _test(self) -> MemoryImages:
        files: list[tuple[Path, int]] = []
        for line in self._lines("val/val_annotations.txt"):
            name, wnid = [*line.split("\t"), ""][:2]
            if wnid not in self._wnids:
                raise InputError(f"--data-dir: val_annotations.txt has a line '{line}' that names none of wnids.txt's classes")
            files.append((self._root / "val" / "images" / name, self._wnids.index(wnid)))
        return self._decode(files)[0]

    def _decode(self, files: Sequence[tuple[Path, int]]) -> tuple[MemoryImages, np.ndarray]:
        return decode(files, SIZE, size=self.size, corrupt=self.corrupt, description="decoding Tiny ImageNet")

    @property
    def _root(self) -> Path:
        return require_folder(self.root, LAYOUT)

    def _lines(self, name: str) -> list[str]:
        """The lines of a text file that are not empty."""
        path = self._root / name
        try:
            return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise InputError(f"--data-dir: no text file '{path}'; the folder must be {LAYOUT}") from error
