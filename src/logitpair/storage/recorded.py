"""What evaluations and audits have in common: a typed record, a ledger of every example, and their files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec
import numpy as np

from logitpair.storage.ledger import PARTS, PartialLedger
from logitpair.storage.result_files import read_ledger, read_record, write_results
from logitpair.storage.results import Results, Task

Kind = TypeVar("Kind", bound=Results)


@dataclass(frozen=True, repr=False)
class Recorded(Generic[Kind]):
    """A result that is shown as its ``table``.

    Args:
        record: the content of ``results.json``, typed; its fields are described in ``docs/results.md``. Accuracies are fractions.
        ledger: arrays with one row an example, and what figures are drawn from.
    """

    record: Kind
    ledger: dict[str, np.ndarray]

    kind: ClassVar[type[Results]]
    writer: ClassVar[str]  # the command that writes it, for errors

    @property
    def results(self) -> dict[str, Any]:
        """The content of ``results.json`` as plain values."""
        return msgspec.json.decode(msgspec.json.encode(self.record))

    def with_task(self, task: Task) -> Self:
        """The same result with what the command line knows beside the model and the images."""
        known = {name: getattr(task, name) for name in Task.__struct_fields__}
        return replace(self, record=msgspec.structs.replace(self.record, **known))

    def save(self, folder: Path | str) -> Path:
        """Write ``results.json`` and ``ledger.npz`` into the folder, each whole or not at all, and return the path of the first.

        Raises:
            OSError: for a full disk or a folder that cannot be written.
        """
        path = write_results(Path(folder), self.record, self.ledger)
        for kept in (Path(folder) / PARTS).glob(f"{self.record.cache_key}*"):
            PartialLedger(Path(folder), kept.name).clear()  # an interrupted call would have resumed from it
        return path

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            InputError: if a file is missing or damaged, or of another schema or kind.
        """
        record: Any = read_record(Path(folder) / "results.json", cls.kind, cls.writer)
        ledger = read_ledger(Path(folder) / "ledger.npz", record, cls.writer)
        return cls(msgspec.structs.replace(record, ledger_sha256=None), ledger)

    def table(self) -> str:
        """The result as Markdown."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()  # what a notebook shows
