"""What happened to every example: columns gathered batch by batch, in memory or in files that survive an interruption. Imports no torch."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from logitpair.storage.atomic_files import read_arrays, write_arrays

if TYPE_CHECKING:
    from torch import Tensor

GALLERY = 12  # examples whose images are kept for people to look at: the first of the data
POSITION = "position"
FACTS = "facts/"  # prefix of what is known of a chunk as a whole
PARTS = "parts"  # folder of the chunks
STILL_CORRECT, MISCLASSIFIED = -1, -2  # in place of the attack or round that broke an example: nothing has, or wrong without any attack

Columns = dict[str, np.ndarray]
"""Of some examples, known by their ``position`` in the data: arrays ``[examples, ...]``, images of the ``gallery/``, and facts."""


def gallery(x: Tensor, position: Tensor) -> Tensor:
    """The images of those examples that are in the gallery."""
    return x[position.to(x.device) < GALLERY]


def column(chunks: Sequence[Columns], name: str) -> np.ndarray:
    """A column of all chunks, in their order."""
    return np.concatenate([chunk[name] for chunk in chunks])


def total(chunks: Sequence[Columns], fact: str) -> float:
    """The sum of a fact over the chunks; one that an older version wrote without it counts as 0."""
    return float(sum(float(chunk.get(FACTS + fact, 0)) for chunk in chunks))


def merge(chunks: Sequence[Columns]) -> Columns:
    """The columns of all chunks in the order of the data, without facts."""
    position = column(chunks, POSITION)
    order, shown = np.argsort(position), np.argsort(position[position < GALLERY])
    names = [name for name in chunks[0] if name != POSITION and not name.startswith(FACTS)]
    return {name: column(chunks, name)[shown if name.startswith("gallery/") else order] for name in names}


class PartialLedger:
    """The chunks of one evaluation as files, so that an interrupted one resumes.

    Args:
        folder: of the evaluation; the chunks lie in ``parts/`` below, those of each cache key apart.
        cache_key: a hash of everything that determines the numbers.
    """

    def __init__(self, folder: Path, cache_key: str) -> None:
        self.folder = folder / PARTS / cache_key

    def save(self, chunk: Columns) -> None:
        """Write a chunk, whole or not at all."""
        position = chunk[POSITION]
        write_arrays(self.folder / f"{position[0]:09d}-{zlib.crc32(position.tobytes()):08x}.npz", chunk)

    def read(self, only: str = "") -> list[Columns]:
        """Every chunk that is whole, damaged ones being deleted; ``only`` the columns whose names begin so."""
        found: list[Columns] = []
        for path in sorted(self.folder.glob("*.npz")):
            chunk = read_arrays(path, only)
            if chunk is None:
                path.unlink(missing_ok=True)
            else:
                found.append(chunk)
        return found

    def done(self) -> np.ndarray:
        """The positions of the examples that are done."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *(chunk[POSITION] for chunk in self.read(POSITION))])

    def clear(self) -> None:
        """Delete the chunks, also those that a kill left half written, and nothing else."""
        for path in (*self.folder.glob("*.npz"), *self.folder.glob(".*.npz.*")):
            path.unlink(missing_ok=True)
        for folder in (self.folder, self.folder.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
