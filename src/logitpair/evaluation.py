"""The result of an evaluation: a summary for people and a ledger of every example, and their files."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from logitpair.errors import InputError
from logitpair.files import atomic_write

SCHEMA = 1
COLUMNS = ("threat", "attack", "accuracy %", "95% interval", "correct")


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What ``logitpair.evaluate`` returns.

    Args:
        results: the content of ``results.json``; its keys are described in ``docs/results.md``. Accuracies are fractions.
        ledger: arrays with one row an example: ``y``, ``clean/prediction``, ``<victim>/<attack>/prediction`` and ``/distance``,
            where the victim is ``white_box`` or a source's name; besides them the first few examples'
            images, ``gallery/x`` and ``gallery/white_box/<attack>``.
    """

    results: dict[str, Any]
    ledger: dict[str, np.ndarray]

    def save(self, folder: Path | str) -> Path:
        """Write ``results.json`` and ``ledger.npz`` into the folder, each whole or not at all.

        Raises:
            OSError: for a full disk or a folder that cannot be written.
        """
        folder = Path(folder)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self.ledger)
        results = self.results | {"ledger_sha256": hashlib.sha256(buffer.getbuffer()).hexdigest()}  # the two belong together
        atomic_write(folder / "ledger.npz", buffer.getbuffer())
        atomic_write(folder / "results.json", json.dumps(results, indent=2) + "\n")
        shutil.rmtree(folder / "parts", ignore_errors=True)  # what an interruption would have gone on from
        return folder / "results.json"

    @classmethod
    def load(cls, folder: Path | str) -> Evaluation:
        """Read what ``save`` wrote.

        Raises:
            InputError: if a file is missing or damaged, or of another schema.
        """
        folder = Path(folder)
        results = read_results(folder / "results.json")
        ledger = read_ledger(folder / "ledger.npz", results)
        return cls({key: value for key, value in results.items() if key != "ledger_sha256"}, ledger)

    def rows(self) -> list[tuple[str, ...]]:
        """The lines of the table as text, under ``COLUMNS``: one for each attack, and the worst case over them."""
        entries = [("clean", "-", self.results["clean"])]
        entries += [("white box", name, entry) for name, entry in self.results["attacks"].items()]
        entries += [("white box, worst", self.results["white_box"]["attack"], self.results["white_box"])]
        entries += [("white box, any attack", "union", self.results["white_box_union"])]
        for source, summary in self.results["black_box"].items():
            entries += [(f"black box from {source}", name, entry) for name, entry in summary["attacks"].items()]
        return [
            (threat, attack, percent(entry["top1"]), " - ".join(map(percent, entry["ci95"])), f"{entry['correct']} / {entry['total']}")
            for threat, attack, entry in entries
        ]

    def table(self) -> str:
        """The results as a Markdown table, in percent with the 95% interval."""
        lines = [COLUMNS, ("---",) * len(COLUMNS), *self.rows()]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def __repr__(self) -> str:
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()  # what a notebook shows


def percent(fraction: float) -> str:
    """0.9375 as 93.75."""
    return f"{100 * fraction:.2f}"


def read_results(path: Path) -> dict[str, Any]:
    """The content of a ``results.json``.

    Raises:
        InputError: if it is missing or damaged, or of another schema.
    """
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is missing or damaged; run `logitpair evaluate` again") from error
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != SCHEMA:
        raise InputError(f"'{path}' has schema {schema}, this version reads {SCHEMA}; run `logitpair evaluate` again")
    return results


def read_ledger(path: Path, results: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a ``ledger.npz``.

    Raises:
        InputError: if it is missing or damaged, or of another evaluation than the ``results``.
    """
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != results.get("ledger_sha256"):
            raise ValueError("not written together with results.json")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"'{path}' is missing, damaged or of another evaluation ({error}); run `logitpair evaluate` again") from error
