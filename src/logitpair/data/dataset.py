"""What every data set is: three splits of images and labels, of which those for validation are held out of the training images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from logitpair.errors import InputError
from logitpair.validate import type_name


class ImageData(ABC):
    """An image-classification data set. Subclasses are frozen dataclasses; the splits never overlap.

    Attributes:
        name: what reports call it.
    """

    name: str

    @property
    @abstractmethod
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of the labels."""

    @abstractmethod
    def train(self) -> Dataset[Any]:
        """What the network is trained on, with augmentation where there is any."""

    @abstractmethod
    def validation(self) -> Dataset[Any]:
        """What choices are made on: held out of the training set, never of the test set."""

    @abstractmethod
    def test(self) -> Dataset[Any]:
        """What results are reported on."""


class MemoryImages(TensorDataset):
    """Images held in memory.

    Args:
        images: ``[n, channels, height, width]``, uint8.
        labels: ``[n]``, int64.
    """

    def __init__(self, images: UInt8[Tensor, "n channels height width"], labels: Int[Tensor, " n"]) -> None:
        super().__init__(images, labels)
        self.images, self.labels = images, labels

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """One example, or of a list of positions, which a ``Subset`` may give as tensors, all of them at once."""
        return super().__getitem__(torch.as_tensor(index, dtype=torch.int64) if isinstance(index, list) else index)

    def part(self, start: int, stop: int) -> MemoryImages:
        """The examples from ``start`` to before ``stop``."""
        return MemoryImages(self.images[start:stop], self.labels[start:stop])


def training_count(examples: int, fraction: float) -> int:
    """How many training images are left when this fraction of them, at least one and not all, is held out."""
    kept = examples - round(fraction * examples)
    if not 0 < kept < examples:
        raise InputError(f"data.validation_fraction: {fraction} of {examples} images leaves none for validation or none for training")
    return kept


def held_out(examples: int, fraction: float) -> tuple[list[int], list[int]]:
    """Positions that are kept for training and those held out for validation, drawn once by a fixed seed."""
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(0)).tolist()
    kept = training_count(examples, fraction)
    return order[:kept], order[kept:]


def require_folder(root: Path | str | None, holds: str) -> Path:
    """The folder that ``--data-dir`` names or one below it, or an error that says what it must hold."""
    if root is None or not Path(root).is_dir():
        found = " is not given" if root is None else f": '{root}' is not a folder"
        raise InputError(f"--data-dir{found}; it must be {holds}")
    return Path(root)


def check_data(data: object) -> None:
    """Refuse what no batches can be taken of.

    Raises:
        InputError: for a data set of which no split was chosen, a pair that is no tuple, and anything else.
    """
    if callable(getattr(data, "test", None)) and not isinstance(data, Dataset | DataLoader):
        raise InputError(f"data: {type(data).__name__} has several splits; pass one of them, such as its .test()")
    if isinstance(data, tuple) and len(data) == 2:
        return
    by_position = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    found = f"a tuple of {len(data)}" if isinstance(data, tuple) else type_name(data)
    if not (by_position or isinstance(data, Dataset | DataLoader)) or isinstance(data, list | tuple | dict | str | Tensor):
        raise InputError(f"data: must be a tuple (x, y), a Dataset or a DataLoader, not {found}")
