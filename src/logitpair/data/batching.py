"""How batches and selections of examples are taken, of whatever holds images and labels."""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler, Subset, default_collate

from logitpair.data.dataset import MemoryImages
from logitpair.errors import InputError, first_line
from logitpair.validate import dense, type_name

Batch = tuple[Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]]
ROUNDING = 4  # units of rounding, of 1, by which a pixel may lie outside [0, 1]
NEARLY_BLACK = 1.001 / 255  # below it lies all that was divided by 255 twice, or was not multiplied by it
ACCEPTED = "accepted: images as tensors of one shape, labels as integers"
Data = tuple[Tensor, Tensor] | Dataset[Any] | DataLoader[Any]


def collate(batch: tuple[Any, ...] | list[Any]) -> tuple[Any, Any]:
    """Images and labels of a batch that came whole, or of a list of examples, which are stacked; what follows them is left out.

    Raises:
        InputError: for examples that are no pairs, and images or labels that cannot be stacked.
    """
    if isinstance(batch, tuple):
        return _image_and_label(batch)
    images, labels = zip(*map(_image_and_label, batch), strict=True)
    try:
        return default_collate(list(images)), default_collate(list(labels))
    except (TypeError, RuntimeError) as error:
        found = f"images {type_name(images[0])} and labels {type_name(labels[0])}: {first_line(error)}"
        raise InputError(f"data: cannot make a batch of {found}; {ACCEPTED}") from error


def _image_and_label(example: Any) -> tuple[Any, Any]:
    """The first two parts of an example or of a batch."""
    if not isinstance(example, tuple | list) or len(example) < 2:
        raise InputError(f"data: each example must be a tuple (image, label), not {type_name(example)}")
    return example[0], example[1]


def to_pixels(images: Tensor, device: torch.device) -> Float[Tensor, "batch channels height width"]:
    """uint8 images as float32 in [0, 1] on the device; floating-point ones as they are, without what rounding led beyond 0 and 1.

    Contiguous, as networks want them that call ``x.view(len(x), -1)``; those of Pillow lie in memory pixel by pixel.
    """
    images = images.to(device, non_blocking=True).contiguous()
    if images.dtype == torch.uint8:
        return images.float().div_(255)
    if not images.is_floating_point():
        return images
    inside = images.clamp(0, 1)
    unit = max(torch.finfo(kind).eps for kind in (images.dtype, torch.float32))  # float64 images are often made of float32
    return torch.where((images - inside).abs() <= ROUNDING * unit, inside, images)


def batches(data: Data, batch_size: int, device: torch.device, workers: int = 0) -> Iterator[Batch]:
    """Batches ``(x, y)`` in the data's own order: pixels in [0, 1], labels int64, both on the device.

    Args:
        data: a pair of tensors, a ``Dataset`` of ``(image, label)``, or a ``DataLoader``, which keeps its own batch size.
        batch_size: examples a batch.
        workers: processes that decode images.

    Raises:
        InputError: for labels that are no integers, or not as many as images; for examples that are no pairs of image and label. What
            follows these two in an example is ignored.
    """
    if isinstance(data, tuple):
        x, y = _pair(data)
        loader: Iterable[Any] = zip(x.split(batch_size), y.split(batch_size), strict=True)
    elif isinstance(data, DataLoader):
        loader = data
    else:
        taken: dict[str, Any] = {"batch_size": batch_size}
        if isinstance(data.dataset if isinstance(data, Subset) else data, MemoryImages):  # a whole batch is indexed at once
            taken = {"batch_size": None, "sampler": BatchSampler(SequentialSampler(data), batch_size, drop_last=False)}  # type: ignore[arg-type]
        # with a generator, or the loader would draw from the global one
        loader = DataLoader(data, num_workers=workers, collate_fn=collate, generator=torch.Generator(), **taken)
    for number, batch in enumerate(readable(loader)):
        images, labels = _image_and_label(batch)
        dense("x", images, "a tensor of images")
        x = to_pixels(images, device)
        if number == 0 and x.is_floating_point() and x.numel() and 0 < x.max() < NEARLY_BLACK:
            given = "uint8 images hold no value but 0 and 1" if images.dtype == torch.uint8 else "images hold no value above 1/255"
            warnings.warn(f"x: {given} and are nearly black; white is {255 if images.dtype == torch.uint8 else 1}", stacklevel=2)
        yield x, _labels(labels).to(device, torch.int64)


def readable(loader: Iterable[Any]) -> Iterator[Any]:
    """What a loader gives; an error of one line where its examples make no batches, also if a worker process met it."""
    try:
        yield from loader
    except InputError as error:
        if not re.match(r"Caught \w+ in DataLoader", str(error)):
            raise
        raise InputError(str(error).strip().splitlines()[-1].partition(": ")[2]) from error  # before it comes the worker's traceback
    except TypeError as error:
        if "default_collate" not in str(error):
            raise
        found = str(error).strip().splitlines()[-1].removeprefix("TypeError: ")
        raise InputError(f"data: cannot make a batch ({found}); {ACCEPTED}") from error


def _tensor(name: str, values: Any, accepted: str) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        found = f"{type_name(values)} of {type(values[0]).__name__}" if isinstance(values, list | tuple) and values else type_name(values)
        raise InputError(f"{name}: must be {accepted}, not {found}") from error


def _labels(values: Any) -> Tensor:
    y = _tensor("y", values, "integers, one for each image")
    dense("y", y, "integers, one for each image")
    if y.is_floating_point() or y.is_complex():
        raise InputError(f"y: labels must be integers, not {str(y.dtype).removeprefix('torch.')}")
    return y


def count(data: Data) -> int | None:
    """How many examples there are; None where only reading them would show it, and for a stream, which none can be chosen of."""
    if isinstance(data, tuple):
        return len(_pair(data)[1])
    if isinstance(data, IterableDataset):
        return None
    dataset = data.dataset if isinstance(data, DataLoader) else data
    return len(dataset) if hasattr(dataset, "__len__") else None  # type: ignore[arg-type]


def select(data: Data, positions: Sequence[int]) -> Data:
    """The examples at these positions, in this order.

    Raises:
        InputError: for a ``DataLoader`` or an ``IterableDataset``, which give examples in their own order alone, and for not as many labels
            as images.
    """
    if isinstance(data, tuple):
        x, y = _pair(data)
        index = torch.as_tensor(positions, dtype=torch.int64)
        return x[index], y[index]
    if isinstance(data, DataLoader):
        raise InputError("data: cannot choose examples of a DataLoader; pass its Dataset")
    if isinstance(data, IterableDataset):
        raise InputError(f"data: cannot choose examples of {type_name(data)}, an IterableDataset; accepted: a Dataset with __getitem__")
    return Subset(data, positions)


def first(data: Data, examples: int | None) -> Data:
    """The first ``examples`` of the data, all of it for None; raises as ``select`` does."""
    if examples is None:
        return data
    if isinstance(data, DataLoader):
        raise InputError("examples: cannot cut a DataLoader short; pass its Dataset")
    if (total := count(data)) is None:
        raise InputError(f"examples: cannot cut {type_name(data)} short, whose length is not known; accepted: a Dataset with __len__")
    return select(data, range(min(examples, total)))


def _pair(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, y = _tensor("x", data[0], "a tensor of images"), _labels(data[1])
    dense("x", x, "a tensor of images")
    if not x.ndim or not y.ndim:
        raise InputError(
            f"data: must be images [batch, channels, height, width] and labels [batch], not {list(x.shape)} and {list(y.shape)}"
        )
    if len(x) != len(y):
        raise InputError(f"y: {len(y)} labels for {len(x)} images")
    return x, y
