"""What happened to every example: columns gathered batch by batch, in memory or in files that survive an interruption."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from logitpair.errors import InputError
from logitpair.storage.atomic_files import read_arrays, write_arrays

GALLERY = 12  # examples whose images are kept for people to look at
POSITION = "position"
FACTS = "facts/"  # prefix of what is known of a chunk as a whole
PARTS = "parts"  # folder of the chunks

Columns = dict[str, np.ndarray]


class LedgerChunk:
    """The columns of some examples, each known by its position in the data, and facts about them together, by name.

    Args:
        position: ``[batch]``, ascending.
    """

    def __init__(self, position: Tensor) -> None:
        self.columns: Columns = {POSITION: position.cpu().numpy()}
        self.facts: dict[str, float] = {}

    def add(self, column: str, values: Tensor) -> None:
        """A column's values ``[batch, ...]``."""
        self.columns[column] = values.cpu().numpy()

    def add_images(self, name: str, x: Tensor) -> None:
        """The images of those examples that are in the gallery, the first of the data."""
        self.columns[f"gallery/{name}"] = x.cpu().numpy()[self.columns[POSITION] < GALLERY]

    def arrays(self) -> Columns:
        """All of it."""
        return self.columns | {FACTS + name: np.asarray(value) for name, value in self.facts.items()}


def merge(chunks: Sequence[Mapping[str, np.ndarray]], examples: int | None = None) -> Columns:
    """The columns of all chunks in the order of the data, without facts.

    Raises:
        InputError: if one of so many examples is missing, or there twice.
    """
    position = np.concatenate([chunk[POSITION] for chunk in chunks])
    examples = len(position) if examples is None else examples
    if not np.array_equal(np.sort(position), np.arange(examples)):
        missing = examples - len(np.unique(position))
        trouble = f"{missing} are missing; evaluate again" if missing > 0 else f"some are there twice; delete {PARTS}/"
        raise InputError(f"the chunks of the ledger do not make up {examples} examples: {trouble}")
    order, gallery = np.argsort(position), np.argsort(position[position < GALLERY])
    return {
        name: np.concatenate([chunk[name] for chunk in chunks])[gallery if name.startswith("gallery/") else order]
        for name in chunks[0]
        if name != POSITION and not name.startswith(FACTS)
    }


def total(chunks: Sequence[Mapping[str, np.ndarray]], fact: str) -> float:
    """The sum of a fact over the chunks."""
    return float(sum(float(chunk[FACTS + fact]) for chunk in chunks))


class PartialLedger:
    """The chunks of one evaluation as files, so that an interrupted one resumes.

    Args:
        folder: of the evaluation; the chunks lie in ``parts/`` below, those of each cache key apart.
        cache_key: a hash of everything that determines the numbers.
    """

    def __init__(self, folder: Path, cache_key: str) -> None:
        self.folder = folder / PARTS / cache_key

    def save(self, chunk: LedgerChunk) -> None:
        """Write a chunk, whole or not at all."""
        position = chunk.columns[POSITION]
        write_arrays(self.folder / f"{position[0]:09d}-{zlib.crc32(position.tobytes()):08x}.npz", chunk.arrays())

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
