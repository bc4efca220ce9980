"""What people see in the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from logitpair.evaluation.result import COLUMNS, Evaluation, percent

console = Console(highlight=False, soft_wrap=True)


EVERY = 30.0  # seconds between two lines where there is no terminal to draw a bar on


def progress_bar(*, disable: bool = False) -> progress.Progress:
    """A progress bar with a count, a note that the work may set (``note=``), elapsed and remaining time."""
    return progress.Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
        disable=disable or not console.is_terminal,
    )


class Progress:
    """How far a loop over examples has come: a bar in a terminal; elsewhere, such as in a log file, a line now and then.

    Args:
        name: of the work.
        total: examples in all; None where only reading them would tell.
        done: how many of them were done before.
        note: what is being done.
        shown: False for silence.
    """

    def __init__(self, name: str, total: int | None, done: int = 0, note: str = "", shown: bool = True) -> None:
        self.name, self.total, self.done = name, total, done
        self.bar = progress_bar(disable=not shown)
        self.task = self.bar.add_task(name, total=total, completed=done, note=note)
        self.lines = shown and not console.is_terminal
        self.told = time.monotonic()
        if self.lines and done:
            console.print(f"{self}; going on with {note}")

    def advance(self, examples: int) -> None:
        """So many more are done."""
        self.done += examples
        self.bar.advance(self.task, examples)
        if self.lines and time.monotonic() - self.told > EVERY:
            self.told = time.monotonic()
            console.print(f"{self}")

    def __str__(self) -> str:
        return f"{self.name}: {self.done:,} of {'?' if self.total is None else f'{self.total:,}'} images done"

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()


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
        results = evaluation.results
        low, high = results["white_box"]["ci95"]
        black = min((source["top1"] for source in results["black_box"].values()), default=None)
        table.add_row(
            name,
            percent(results["clean"]["top1"]),
            percent(results["white_box"]["top1"]),
            f"{percent(low)} - {percent(high)}",
            "-" if black is None else percent(black),
        )
    return table
