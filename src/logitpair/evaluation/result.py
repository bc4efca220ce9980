"""The result of an evaluation: a summary for people and a ledger of every example, and their files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from logitpair.errors import InputError
from logitpair.storage.ledger import PartialLedger
from logitpair.storage.results import Task
from logitpair.storage.schema1 import read_ledger, read_results, write_files

if TYPE_CHECKING:
    import pandas

COLUMNS = ("threat", "attack", "accuracy %", "95% interval", "correct", "top-5 %")
ESSENTIAL = ("examples", "clean", "attacks", "white_box", "white_box_union", "black_box")


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

    def with_task(self, task: Task) -> Evaluation:
        """The same with what the command line knows beside the model and the images."""
        return replace(self, results=self.results | msgspec.to_builtins(task))

    def save(self, folder: Path | str) -> Path:
        """Write ``results.json`` and ``ledger.npz`` into the folder, each whole or not at all.

        Raises:
            OSError: for a full disk or a folder that cannot be written.
        """
        write_files(Path(folder), self.results, self.ledger)
        if "request" in self.results:
            PartialLedger(Path(folder), self.results["request"]).clear()  # what an interruption would have gone on from
        return Path(folder) / "results.json"

    @classmethod
    def load(cls, folder: Path | str) -> Evaluation:
        """Read what ``save`` wrote.

        Raises:
            InputError: if a file is missing or damaged, or of another schema.
        """
        folder = Path(folder)
        results = read_results(folder / "results.json")
        missing = [key for key in ESSENTIAL if key not in results]
        if missing:
            raise InputError(f"'{folder / 'results.json'}' has no '{missing[0]}': it is damaged, or no evaluation's")
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
            if len(summary["attacks"]) > 1:
                entries += [(f"black box from {source}, worst", summary["attack"], summary)]
                entries += [(f"black box from {source}, any attack", "union", summary["union"])]
        rows = [
            (
                threat,
                attack,
                percent(entry["top1"]),
                " - ".join(map(percent, entry["ci95"])),
                f"{entry['correct']} / {entry['total']}",
                ("<= " if entry.get("top5_is_upper_bound") else "") + percent(entry["top5"]) if "top5" in entry else "-",
            )
            for threat, attack, entry in entries
        ]
        for entry in self.results.get("published", []):
            measures = [measure for measure in ("clean", "white_box", "black_box") if measure in entry]
            for m in measures:
                top5 = percent(entry[f"{m}_top5"]) if f"{m}_top5" in entry else "-"
                rows.append((f"published: {m.replace('_', ' ')}", entry["source"], percent(entry[m]), "-", "-", top5))
        return rows

    def table(self) -> str:
        """The results as a Markdown table, in percent with the 95% interval."""
        return markdown(COLUMNS, self.rows())

    def plots(self) -> dict[str, str]:
        """Drawings of this evaluation, each an SVG file of its own as text, by name; those that there is something to draw for.

        ``attacks``: accuracy under each attack; ``eps``: against the radius; ``steps`` and ``restarts``: against the length of the search.

        Raises:
            InputError: for ``results`` with damaged values.
        """
        from logitpair.report.figures.standalone import plots  # here, because importing templates and images takes time

        return plots(self.results)

    def to_pandas(self) -> pandas.DataFrame:
        """The ledger's columns as a table with one row an example, by its position in the data; without the gallery's images.

        Raises:
            InputError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("pandas is not installed; run `pip install pandas`") from error

        columns = {name: column for name, column in self.ledger.items() if not name.startswith("gallery/") and column.ndim == 1}
        return pandas.DataFrame(columns, index=pandas.RangeIndex(len(self.ledger["y"]), name="example"))

    def __repr__(self) -> str:
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()  # what a notebook shows


def percent(fraction: float) -> str:
    """0.9375 as 93.75."""
    return f"{100 * fraction:.2f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))
