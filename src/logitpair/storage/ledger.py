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
FACTS = "facts/"  # prefix of what is known of a part as a whole

PARTS = "parts"

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


def merge(parts: Sequence[Mapping[str, np.ndarray]], examples: int) -> Columns:
    """The columns of all parts in the order of the data, without facts.

    Raises:
        InputError: if one of so many examples is missing, or there twice.
    """
    position = np.concatenate([part[POSITION] for part in parts])
    if not np.array_equal(np.sort(position), np.arange(examples)):
        known = len(np.unique(position))
        trouble = f"{examples - known} are missing; evaluate again" if known < examples else "some are there twice; delete parts/"
        raise InputError(f"the parts of the ledger do not make up {examples} examples: {trouble}")
    order, gallery = np.argsort(position), np.argsort(position[position < GALLERY])
    columns: Columns = {}
    for name in parts[0]:
        if name != POSITION and not name.startswith(FACTS):
            whole = np.concatenate([part[name] for part in parts])
            columns[name] = whole[gallery if name.startswith("gallery/") else order]
    return columns


def total(parts: Sequence[Mapping[str, np.ndarray]], fact: str) -> float:
    """The sum of a fact over the parts."""
    return float(sum(float(part[FACTS + fact]) for part in parts))


class PartialLedger:
    """The parts of one evaluation as files of a folder of their own, so that what is done is not done again.

    Args:
        folder: of the evaluation; the parts lie in ``parts/`` below, those of each request apart.
        request: everything that determines the numbers.
    """

    def __init__(self, folder: Path, request: str) -> None:
        self.folder = folder / PARTS / request

    def save(self, part: LedgerChunk) -> None:
        """Write a part, whole or not at all."""
        position = part.columns[POSITION]
        write_arrays(self.folder / f"{position[0]:09d}-{zlib.crc32(position.tobytes()):08x}.npz", part.arrays())

    def read(self, only: str = "") -> list[Columns]:
        """Every part that is whole, damaged ones being deleted; ``only`` the columns whose names begin so."""
        found: list[Columns] = []
        for path in sorted(self.folder.glob("*.npz")):
            part = read_arrays(path, only)
            if part is None:
                path.unlink(missing_ok=True)
            else:
                found.append(part)
        return found

    def done(self) -> np.ndarray:
        """The positions that need no work any more."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *(part[POSITION] for part in self.read(POSITION))])

    def clear(self) -> None:
        """Delete them, also those that a kill left half written, and nothing else."""
        for path in (*self.folder.glob("*.npz"), *self.folder.glob(".*.npz.*")):
            path.unlink(missing_ok=True)
        for folder in (self.folder, self.folder.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
