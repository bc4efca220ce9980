"""What every data set is: three splits of images and labels, and how a batch of them is taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from logitpair.errors import InputError
from logitpair.validate import at_least

Batch = tuple[Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]]
Data = tuple[Tensor, Tensor] | Dataset[Any] | DataLoader[Any]


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
        """What choices are made on: a part of the training set, never of the test set."""

    @abstractmethod
    def test(self) -> Dataset[Any]:
        """What results are reported on."""


class MemoryImages(Dataset[tuple[Tensor, Tensor]]):
    """Images held in memory as uint8; a whole batch is indexed at once.

    Args:
        images: ``[n, channels, height, width]``.
        labels: ``[n]``, int64.
    """

    def __init__(self, images: UInt8[Tensor, "n channels height width"], labels: Int[Tensor, " n"]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self[torch.as_tensor(indices, dtype=torch.int64)]

    def part(self, start: int, stop: int) -> MemoryImages:
        """The examples from ``start`` to before ``stop``."""
        return MemoryImages(self.images[start:stop], self.labels[start:stop])


def collate(batch: tuple[Tensor, Tensor] | list[Any]) -> tuple[Tensor, Tensor]:
    """A batch that came whole as it is; a list of examples stacked."""
    return batch if isinstance(batch, tuple) else tuple(default_collate(batch))


def to_pixels(images: Tensor, device: torch.device) -> Float[Tensor, "batch channels height width"]:
    """uint8 images as float32 in [0, 1] on the device; floating-point ones as they are."""
    images = images.to(device, non_blocking=True)
    return images.float() / 255 if images.dtype == torch.uint8 else images


def batches(data: Data, batch_size: int, device: torch.device, workers: int = 0) -> Iterator[Batch]:
    """Batches ``(x, y)`` in the data's own order: pixels in [0, 1], labels int64, both on the device.

    Args:
        data: a pair of tensors, a ``Dataset`` of ``(image, label)``, or a ``DataLoader`` (whose batch size then stands).
        batch_size: examples a batch.
        device: where the batch goes.
        workers: processes that decode images.

    Raises:
        InputError: for labels that are no integers, or not as many as images.
    """
    if isinstance(data, tuple):
        x, y = _pair(data)
        loader: Iterator[Any] | DataLoader[Any] = zip(x.split(batch_size), y.split(batch_size), strict=True)
    elif isinstance(data, DataLoader):
        loader = data
    else:
        # a generator of its own, or the loader would draw from the global one
        loader = DataLoader(data, batch_size=batch_size, num_workers=workers, collate_fn=collate, generator=torch.Generator())
    for images, labels in loader:
        y = torch.as_tensor(labels)
        if y.is_floating_point():
            raise InputError(f"y: labels must be integers, not {str(y.dtype).removeprefix('torch.')}")
        yield to_pixels(images, device), y.to(device, torch.int64)


def check_data(data: object) -> None:
    """Refuse what no batches can be taken of.

    Raises:
        InputError: for a data set of which no split was chosen, a pair that is no tuple, and anything else.
    """
    kind = "None" if data is None else f"a {type(data).__name__}"
    if callable(getattr(data, "test", None)) and not isinstance(data, Dataset | DataLoader):
        raise InputError(f"data: {type(data).__name__} has several splits; pass one of them, such as its .test()")
    if isinstance(data, tuple) and len(data) == 2:
        return
    readable = hasattr(data, "__getitem__") or hasattr(data, "__iter__")
    if not readable or isinstance(data, list | tuple | dict | str | Tensor):
        raise InputError(f"data: must be a tuple (x, y), a Dataset or a DataLoader, not {kind}")


def count(data: Data) -> int | None:
    """How many examples there are; None where only reading them would tell."""
    if isinstance(data, tuple):
        return len(data[1])
    dataset = data.dataset if isinstance(data, DataLoader) else data
    return len(dataset) if hasattr(dataset, "__len__") else None  # type: ignore[arg-type]


def select(data: Data, positions: Sequence[int]) -> Data:
    """The examples at these positions, in this order.

    Raises:
        InputError: for a ``DataLoader``, which has no order to take from, and for not as many labels as images.
    """
    if isinstance(data, tuple):
        x, y = _pair(data)
        index = torch.as_tensor(positions, dtype=torch.int64)
        return x[index], y[index]
    if isinstance(data, DataLoader):
        raise InputError("data: cannot choose examples of a DataLoader; pass its Dataset")
    return Subset(data, positions)


def _pair(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, y = map(torch.as_tensor, data)
    if len(x) != len(y):
        raise InputError(f"y: {len(y)} labels for {len(x)} images")
    return x, y


def first(data: Data, examples: int | None) -> Data:
    """The first ``examples`` of the data; all of it for None.

    Raises:
        InputError: for a ``DataLoader``, which has no first examples to take.
    """
    if examples is None:
        return data
    if isinstance(data, tuple):
        return data[0][:examples], data[1][:examples]
    if isinstance(data, DataLoader):
        raise InputError("examples: cannot cut a DataLoader short; pass its Dataset")
    return Subset(data, range(min(examples, len(data))))  # type: ignore[arg-type]


def require_folder(root: Path | str | None, option: str, holds: str) -> Path:
    """The folder, or one clear line that says what it must hold.

    Raises:
        InputError: if ``root`` is None or no folder.
    """
    if root is None or not Path(root).is_dir():
        found = "is not given" if root is None else f"'{root}' is not a folder"
        raise InputError(f"{option} {found}; it must be {holds}")
    return Path(root)


def held_out(examples: int, share: float) -> tuple[list[int], list[int]]:
    """Positions that are kept for training and those held out for validation, drawn once by a fixed seed."""
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(0)).tolist()
    kept = examples - round(share * examples)
    return order[:kept], order[kept:]


def check_fraction(share: float) -> None:
    """Refuse a share of the training images for validation that is not in [0, 1).

    Raises:
        InputError: naming ``data.validation_fraction``.
    """
    at_least("data.validation_fraction", share, 0)
    if share >= 1:
        raise InputError(f"data.validation_fraction must be below 1, not {share}")


def none_left(share: float, examples: int) -> InputError:
    """What a share is refused with that leaves no image for validation, or none for training."""
    return InputError(f"data.validation_fraction: {share} of {examples} images leaves none for validation or none for training")
