"""How batches and selections of examples are taken, of whatever holds images and labels."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from logitpair.errors import InputError

Batch = tuple[Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]]
Data = tuple[Tensor, Tensor] | Dataset[Any] | DataLoader[Any]


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
        data: a pair of tensors, a ``Dataset`` of ``(image, label)``, or a ``DataLoader``, which keeps its own batch size.
        batch_size: examples a batch.
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
        # with a generator, or the loader would draw from the global one
        loader = DataLoader(data, batch_size=batch_size, num_workers=workers, collate_fn=collate, generator=torch.Generator())
    for number, (images, labels) in enumerate(loader):
        if number == 0 and images.dtype == torch.uint8 and images.numel() and images.max() == 1:
            warnings.warn(
                "x: uint8 images hold no value but 0 and 1 and are nearly black, for white is 255; give them as floats", stacklevel=2
            )
        y = torch.as_tensor(labels)
        if y.is_floating_point():
            raise InputError(f"y: labels must be integers, not {str(y.dtype).removeprefix('torch.')}")
        yield to_pixels(images, device), y.to(device, torch.int64)


def count(data: Data) -> int | None:
    """How many examples there are; None where only reading them would show it."""
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


def first(data: Data, examples: int | None) -> Data:
    """The first ``examples`` of the data, all of it for None; raises as ``select`` does."""
    if examples is None:
        return data
    if isinstance(data, DataLoader):
        raise InputError("examples: cannot cut a DataLoader short; pass its Dataset")
    return select(data, range(min(examples, len(data[1] if isinstance(data, tuple) else data))))  # type: ignore[arg-type]


def _pair(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, y = map(torch.as_tensor, data)
    if len(x) != len(y):
        raise InputError(f"y: {len(y)} labels for {len(x)} images")
    return x, y
