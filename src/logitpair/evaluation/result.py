"""What evaluations and audits return: a typed record for people, a ledger of every example, and their files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import msgspec
import numpy as np

from logitpair.evaluation.confidence import percent
from logitpair.storage.ledger import PARTS, PartialLedger
from logitpair.storage.result_files import read_ledger, read_record, write_results
from logitpair.storage.results import Accuracy, EvaluationResults, Results, Task

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

COLUMNS = ("threat", "attack", "accuracy %", "95% interval", "correct", "top-5 %")
OF_FEW_IMAGES = ("gallery/", "surface/position")  # how ledger names begin that are no columns, also where there are as few examples
Kind = TypeVar("Kind", bound=Results)


@dataclass(frozen=True, repr=False)
class Recorded(Generic[Kind]):
    """A result with its record and its ledger, shown as its ``table``."""

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

    def to_pandas(self) -> pandas.DataFrame:
        """The ledger's columns as a table with one row an example, by its position in the data; without images and what figures need.

        Raises:
            InputError: if pandas is not installed.
        """
        from logitpair.runtime.lazy_imports import import_optional  # with torch

        pandas = import_optional("pandas", "DataFrame", needed_by="to_pandas", extra="pandas")
        shape = self.ledger["y"].shape
        kept = {name: column for name, column in self.ledger.items() if column.shape == shape and not name.startswith(OF_FEW_IMAGES)}
        return pandas.DataFrame(kept, index=pandas.RangeIndex(len(self.ledger["y"]), name="example"))

    def table(self) -> str:
        """The result as Markdown."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()  # what a notebook shows


class Evaluation(Recorded[EvaluationResults]):
    """What ``logitpair.evaluate`` returns.

    Args:
        record: the content of ``results.json``; its fields are described in ``docs/results.md``. Accuracies are fractions.
        ledger: arrays with one row an example: ``y``, ``clean/prediction``, ``<setting>/<attack>/prediction`` and ``/distance``,
            where the setting is ``white_box`` or a source's name; besides them the first few examples'
            images, ``gallery/x`` and ``gallery/white_box/<attack>``. With ``worst_case_only`` the white box has one ``<attack>``, which is
            ``union``: the images that were the first to break theirs.
    """

    kind = EvaluationResults
    writer = "logitpair evaluate"

    def rows(self) -> list[tuple[str, ...]]:
        """The lines of the table as text, under ``COLUMNS``: one for each attack, and the worst case over them."""
        record = self.record
        rows = [_row("clean", "-", record.clean)]
        rows += [_row("white box", name, attack) for name, attack in record.attacks.items()]
        rows += [
            ("white box, in turn", f"{name}: broke {each.broken} of {each.attacked}", *["-"] * 4) for name, each in record.in_turn.items()
        ]
        rows += [_row("white box, worst", record.white_box.attack, record.white_box)] if record.white_box else []
        rows += [_row("white box, any attack", "union", record.white_box_union)]
        for source, suite in record.black_box.items():
            rows += [_row(f"black box from {source}", name, attack) for name, attack in suite.attacks.items()]
            if len(suite.attacks) > 1:
                rows += [_row(f"black box from {source}, worst", suite.attack, suite)]
                rows += [_row(f"black box from {source}, any attack", "union", suite.union)]
        for published in record.published:
            for measure in ("clean", "white_box", "black_box"):
                top1, top5 = getattr(published, measure), getattr(published, f"{measure}_top5", None)
                if top1 is not None:
                    numbers = percent(top1), "-", "-", "-" if top5 is None else percent(top5)
                    rows.append((f"published: {measure.replace('_', ' ')}", published.source, *numbers))
        return rows

    def table(self) -> str:
        """The results as a Markdown table, in percent with the 95% interval."""
        return markdown(COLUMNS, self.rows())

    def plots(self) -> dict[str, Figure]:
        """Figures of this evaluation by name; those that there is something to draw for.

        ``attacks``: accuracy under each attack; ``eps``: against the radius; ``steps`` and ``restarts``: against the length of the search.
        """
        from logitpair.report.figures.evaluation_figures import evaluation_figures  # here, because importing matplotlib takes time

        return evaluation_figures(self.record)


def numbers_of(accuracy: Accuracy) -> tuple[str, str, str]:
    """An accuracy in percent, its interval, and the counts, as tables show them."""
    return percent(accuracy.top1), " - ".join(map(percent, accuracy.ci95)), f"{accuracy.correct} / {accuracy.total}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))


def _row(threat: str, attack: str, accuracy: Accuracy) -> tuple[str, ...]:
    top5 = "-" if accuracy.top5 is None else ("<= " if accuracy.top5_is_upper_bound else "") + percent(accuracy.top5)
    return threat, attack, *numbers_of(accuracy), top5
