"""What tells one set of examples from another."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from logitpair.data.dataset import Data, MemoryImages, batches, count, select
from logitpair.data.evaluation_folder import LabelledPhotos
from logitpair.data.image_dataset import ImageFiles, tell_files

LOOKED_AT = 64


def identity(data: Data) -> str | None:
    """A SHA-256 of the data, in their order: of all where they are held in memory.

    Of images that are read when they are asked for, it is of their number, of up to 64 of them spread over the whole, and of every
    file's name, size, time of change and label where they are files.

    None for a ``DataLoader`` and for what has no length, which have no order to rely on.
    """
    examples = count(data)
    if isinstance(data, DataLoader) or examples is None:
        return None
    digest = hashlib.sha256(str(examples).encode())
    chosen = data
    if not isinstance(data, tuple):
        source, positions = _source(data, range(examples))
        if not isinstance(source, MemoryImages | TensorDataset):
            chosen = select(data, np.unique(np.linspace(0, max(0, examples - 1), LOOKED_AT).astype(int)).tolist())
            digest.update(_files(source, positions).encode())
    for x, y in batches(chosen, 256, torch.device("cpu")) if examples else ():
        digest.update(str((x.dtype, tuple(x.shape))).encode() + x.contiguous().numpy().tobytes() + y.numpy().tobytes())
    return digest.hexdigest()


def _source(data: Dataset[Any], positions: Sequence[int]) -> tuple[Dataset[Any], Sequence[int]]:
    """What a part is a part of, and which examples it is."""
    while isinstance(data, Subset):
        positions = [data.indices[position] for position in positions]
        data = data.dataset
    return data, positions


def _files(source: Dataset[Any], positions: Sequence[int]) -> str:
    """All that is known of the files without reading them, wherever their folder lies; nothing where there are none."""
    if isinstance(source, ImageFiles):
        return source.source.told(positions)
    files = source.files if isinstance(source, LabelledPhotos) else _samples(source)
    return "" if files is None else tell_files([(str(path), int(label)) for path, label in (files[position] for position in positions)])


def _samples(data: Any) -> Sequence[tuple[str, int]] | None:
    """The files and labels of torchvision's ``DatasetFolder``; None for anything else, for which torchvision is not imported."""
    torchvision = sys.modules.get("torchvision")
    return data.samples if torchvision and isinstance(data, torchvision.datasets.DatasetFolder) else None
