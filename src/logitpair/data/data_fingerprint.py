"""What tells one set of examples from another, and what is known of images in files without reading them."""

import hashlib
import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from logitpair.data.batching import Data, batches, count, select
from logitpair.data.image_dataset import ImageFiles
from logitpair.data.image_source import file_signature
from logitpair.storage.model_fingerprint import bytes_of

READ = 64  # examples that are read of a data set that is not held in memory


def fingerprint(data: Data) -> str | None:
    """A SHA-256 of the data, in their order: of all where they are held in memory.

    Of images that are read when they are needed, it is of their number, of up to 64 of them spread over the whole, and of every
    file's name, size, time of change and label where they are files. None for a ``DataLoader`` and for what has no length, which have
    no order to rely on.
    """
    examples = count(data)
    if isinstance(data, DataLoader) or examples is None:
        return None
    digest = hashlib.sha256(str(examples).encode())
    if not isinstance(data, tuple):
        whole, positions = _without_subsets(data, range(examples))
        if not isinstance(whole, TensorDataset):
            data = select(data, np.unique(np.linspace(0, max(0, examples - 1), READ).astype(int)).tolist())
            digest.update(_signature(whole, positions).encode())
    for x, y in batches(data, 256, torch.device("cpu")) if examples else ():
        digest.update(str((x.dtype, tuple(x.shape))).encode() + bytes_of(x) + bytes_of(y))
    return digest.hexdigest()


def known_labels(data: Data) -> list[int]:
    """The labels of images in files, read without opening them; none for other data."""
    if isinstance(data, tuple | DataLoader):
        return []
    whole, positions = _without_subsets(data, range(count(data) or 0))
    return whole.source.labels[list(positions)].tolist() if isinstance(whole, ImageFiles) else []


def _without_subsets(data: Dataset[Any], positions: Sequence[int]) -> tuple[Dataset[Any], Sequence[int]]:
    """The data set that subsets are taken of, and the positions there."""
    while isinstance(data, Subset):
        positions = [data.indices[position] for position in positions]
        data = data.dataset
    return data, positions


def _signature(data: Dataset[Any], positions: Sequence[int]) -> str:
    """All that is known of image files without reading them; nothing of other examples."""
    if isinstance(data, ImageFiles):
        return data.source.signature(positions)
    torchvision: Any = sys.modules.get("torchvision")  # it need not be imported for data that are not its own
    if not torchvision or not isinstance(data, torchvision.datasets.DatasetFolder):
        return ""
    samples: Sequence[tuple[str, int]] = cast(Any, data).samples
    return file_signature([samples[position] for position in positions])
