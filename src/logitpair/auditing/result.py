"""The result of an audit: a summary for people and a ledger of every example, and their files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from logitpair.errors import InputError
from logitpair.evaluation.result import percent
from logitpair.storage.ledger import PARTS, PartialLedger
from logitpair.storage.results import Task
from logitpair.storage.schema1 import read_ledger, read_results, write_files

COLUMNS = ("", "accuracy %", "95% interval", "correct", "gradients per image")


@dataclass(frozen=True, repr=False)
class Audit:
    """What ``logitpair.audit`` returns.

    Args:
        results: the content of ``results.json``; its keys are described in ``docs/results.md``. Accuracies are fractions.
        ledger: arrays with one row an example: ``y``, ``clean/prediction``, ``broken_by`` (the number of the round, -1: stands,
            -2: wrong without any attack), ``prediction``, ``margin``, ``distance``, ``restart``, ``step``, ``gradients``, ``forwards``,
            ``broken_8_bit``; besides them the first few examples' images and what the pictures are drawn from.
    """

    results: dict[str, Any]
    ledger: dict[str, np.ndarray]

    @property
    def verdict(self) -> str:
        """``trustworthy``, ``overestimated`` or ``inconclusive``."""
        return self.results["verdict"]

    @property
    def robust_accuracy(self) -> float:
        """What no search broke, as a fraction of the examples."""
        return self.results["robust_accuracy"]["top1"]

    def with_task(self, task: Task) -> Audit:
        """The same with what the command line knows beside the model and the images."""
        return replace(self, results=self.results | msgspec.to_builtins(task))

    def save(self, folder: Path | str) -> Path:
        """Write ``results.json`` and ``ledger.npz`` into the folder, each whole or not at all.

        Raises:
            OSError: for a full disk or a folder that cannot be written.
        """
        write_files(Path(folder), self.results, self.ledger)
        for stage in (Path(folder) / PARTS).glob(f"{self.results['request']}-*"):
            PartialLedger(Path(folder), stage.name).clear()  # what an interruption would have gone on from
        return Path(folder) / "results.json"

    @classmethod
    def load(cls, folder: Path | str) -> Audit:
        """Read what ``save`` wrote.

        Raises:
            InputError: if a file is missing or damaged, or of another schema or kind.
        """
        folder = Path(folder)
        results = read_results(folder / "results.json", writer="logitpair audit")
        if results.get("kind") != "audit":
            raise InputError(f"'{folder / 'results.json'}' is no audit; run `logitpair audit` first")
        ledger = read_ledger(folder / "ledger.npz", results, writer="logitpair audit")
        return cls({key: value for key, value in results.items() if key != "ledger_sha256"}, ledger)

    def rows(self) -> list[tuple[str, ...]]:
        """The lines of the table as text, under ``COLUMNS``: clean, the protocol, and what stood after each round."""
        results = self.results
        protocol = results["protocol"]
        cost = protocol.get("gradient_evaluations_per_example")
        rows = [_row("clean", results["clean"], "-"), _row("protocol", protocol, "-" if cost is None else f"{cost:.1f}")]
        for number, done in enumerate(results["rounds"], 1):
            left, spent = percent(done["standing"] / results["examples"]), f"{done['gradients_per_example']:.1f}"
            rows.append((f"after {number}: {done['arm']}", left, "-", f"{done['standing']} / {results['examples']}", spent))
        return [*rows, _row("audit", results["robust_accuracy"], f"{results['gradient_evaluations_per_example']:.1f}")]

    def table(self) -> str:
        """Verdict, accuracies and checks as Markdown."""
        lines = [f"**{self.verdict}**: {self.results['reason']}.", ""]
        lines += [f"| {' | '.join(line)} |" for line in (COLUMNS, ("---",) * len(COLUMNS), *self.rows())]
        lines += ["", "| check | | what was measured |", "| --- | --- | --- |"]
        lines += [f"| {f['check']} | {'passed' if f['passed'] else 'failed'} | {f['evidence']} |" for f in self.results["findings"]]
        return "\n".join(lines)

    def plots(self) -> dict[str, str]:
        """Drawings of this audit, each an SVG file of its own as text, by name; those that there is something to draw for.

        ``convergence``: accuracy against gradients spent; ``restarts``: margins at the ends of the protocol's restarts; ``surfaces``: the
        margin around a few images; ``eps``: accuracy of the sample against the radius.

        Raises:
            InputError: for ``results`` with damaged values.
        """
        from logitpair.report.figures.standalone import audit_plots  # here, because importing templates and images takes time

        return audit_plots(self.results, self.ledger)

    def __repr__(self) -> str:
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()


def _row(name: str, entry: dict[str, Any], gradients: str) -> tuple[str, ...]:
    return name, percent(entry["top1"]), " - ".join(map(percent, entry["ci95"])), f"{entry['correct']} / {entry['total']}", gradients
