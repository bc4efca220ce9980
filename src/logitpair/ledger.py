"""What happened to every example: columns gathered batch by batch, in memory or in files that survive an interruption."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from logitpair.errors import InputError
from logitpair.files import atomic_write, read_arrays, write_arrays

GALLERY = 12  # examples whose images are kept for people to look at
POSITION = "position"
FACTS = "facts/"  # prefix of what is known of a part as a whole

Columns = dict[str, np.ndarray]


class Part:
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


def merge(parts: Sequence[Mapping[str, np.ndarray]]) -> Columns:
    """The columns of all parts in the order of the data, without facts.

    Raises:
        InputError: if an example is missing or there twice.
    """
    position = np.concatenate([part[POSITION] for part in parts])
    if not np.array_equal(np.sort(position), np.arange(len(position))):
        raise InputError("the parts of the ledger do not fit together; delete the folder parts/ and evaluate again")
    order, gallery = np.argsort(position), np.argsort(position[position < GALLERY])
    columns: Columns = {}
    for name in parts[0]:
        if not name.startswith((FACTS, POSITION)):
            whole = np.concatenate([part[name] for part in parts])
            columns[name] = whole[gallery if name.startswith("gallery/") else order]
    return columns


def total(parts: Sequence[Mapping[str, np.ndarray]], fact: str) -> float:
    """The sum of a fact over the parts."""
    return float(sum(float(part[FACTS + fact]) for part in parts))


class Parts:
    """The parts of one evaluation as files of a folder, so that what is done is not done again.

    Args:
        folder: theirs alone.
        request: everything that determines the numbers; parts that another request left are deleted.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]) -> None:
        self.folder = folder
        self._request = json.dumps(request, indent=2, sort_keys=True) + "\n"

    def open(self) -> bool:
        """Make the folder ready for this request; whether it held another one's parts."""
        path = self.folder / "request.json"
        other = path.exists() and path.read_text() != self._request
        if other:
            self.clear()
        if not path.exists():
            atomic_write(path, self._request)
        return other

    def save(self, part: Part) -> None:
        """Write a part, whole or not at all."""
        position = part.columns[POSITION]
        write_arrays(self.folder / f"{position[0]:09d}-{zlib.crc32(position.tobytes()):08x}.npz", part.arrays())

    def files(self) -> list[Path]:
        """Those of the parts."""
        return sorted(self.folder.glob("*.npz"))

    def read(self, only: str = "") -> list[Columns]:
        """Every part that is whole, damaged ones being deleted; ``only`` the columns whose names begin so."""
        found: list[Columns] = []
        for path in self.files():
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
        """Delete them."""
        for path in self.files():
            path.unlink(missing_ok=True)
        (self.folder / "request.json").unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
