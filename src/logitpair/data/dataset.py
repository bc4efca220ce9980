"""What every data set is: three splits of images and labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from logitpair.errors import InputError


class ImageData(ABC):
    """An image-classification data set. Subclasses are frozen dataclasses; the splits never overlap.

    Attributes:
        name: what reports call it.
        classes: names of the classes, in the order of the labels.
    """

    name: str

    @property
    @abstractmethod
    def classes(self) -> Sequence[str]:
        """Names of the classes."""

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
    """Images held in memory as uint8; a whole batch is indexed at once.

    Args:
        images: ``[n, channels, height, width]``.
        labels: ``[n]``, int64.
    """

    def __init__(self, images: UInt8[Tensor, "n channels height width"], labels: Int[Tensor, " n"]) -> None:
        super().__init__(images, labels)
        self.images, self.labels = images, labels

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(indices, dtype=torch.int64)
        return self.images[index], self.labels[index]

    def part(self, start: int, stop: int) -> MemoryImages:
        """The examples from ``start`` to before ``stop``."""
        return MemoryImages(self.images[start:stop], self.labels[start:stop])


def check_data(data: object) -> None:
    """Refuse what no batches can be taken of.

    Raises:
        InputError: for a data set of which no split was chosen, a pair that is no tuple, and anything else.
    """
    if callable(getattr(data, "test", None)) and not isinstance(data, Dataset | DataLoader):
        raise InputError(f"data: {type(data).__name__} has several splits; pass one of them, such as its .test()")
    if isinstance(data, tuple) and len(data) == 2:
        return
    readable = hasattr(data, "__getitem__") or hasattr(data, "__iter__")
    if not readable or isinstance(data, list | tuple | dict | str | Tensor):
        kind = "None" if data is None else f"a {type(data).__name__}"
        raise InputError(f"data: must be a tuple (x, y), a Dataset or a DataLoader, not {kind}")
