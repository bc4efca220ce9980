"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Column, Table

from logitpair.evaluation.confidence import percent
from logitpair.evaluation.result import COLUMNS, Evaluation, numbers_of
from logitpair.runtime.progress import console


def print_table(evaluation: Evaluation) -> None:
    """One evaluation, a line an attack."""
    print_rows(COLUMNS, evaluation.rows())


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table."""
    table = Table(*(Column(name, overflow="fold") for name in columns))  # a name cut short could be any attack's
    for row in rows:
        table.add_row(*row)
    console.print(table)


def comparison_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """Several evaluations, a line each: clean, white box, and the worst black box."""
    table = Table("run", "clean %", "white box %", "95% interval", "black box, worst %", title="accuracy on the test images")
    for name, evaluation in evaluations.items():
        found = evaluation.record
        black = min((source.top1 for source in found.black_box.values()), default=None)
        table.add_row(
            name,
            percent(found.clean.top1),
            *numbers_of(found.white_box)[:2],
            "-" if black is None else percent(black),
        )
    return table
