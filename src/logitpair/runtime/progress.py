"""How far a work has come, for people at a terminal."""

import os
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self, TypeVar

from rich import progress
from rich.console import Console

Item = TypeVar("Item")
EVERY = 30.0  # seconds between two lines where there is no terminal to draw a bar on


class WorkGoesOn(Console):
    """A console on which, once nobody reads a stream any more (``| head``), nothing is shown there and the work goes on."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())  # the other stream may have its reader
        with self.capture():  # which ends by forgetting what could not be written; it would come next on the other stream
            pass


console = WorkGoesOn(highlight=False, soft_wrap=True, markup=False, emoji=False)  # a path may hold [brackets] and :colons:


class Progress:
    """A bar with a count, a note, elapsed and remaining time in a terminal; elsewhere, such as in a log file, a line now and then.

    Args:
        name: of the work.
        total: how many there are; None where only reading them would tell.
        done: how many of them were done before.
        note: what is being done, or what came of it.
        shown: False for silence.
        unit: what is counted, in the lines; None for no lines, where the work logs by itself.
    """

    def __init__(
        self, name: str, total: int | None, done: int = 0, note: str = "", shown: bool = True, *, unit: str | None = "images"
    ) -> None:
        self.name, self.total, self.done, self.note, self.unit = name, total, done, note, unit
        columns = ("{task.description}", progress.BarColumn(), progress.MofNCompleteColumn(), "{task.fields[note]}")
        times = (progress.TimeElapsedColumn(), "ETA", progress.TimeRemainingColumn())
        self._bar = progress.Progress(*columns, *times, console=console, disable=not (shown and console.is_terminal))
        self._task = self._bar.add_task(name, total=total, completed=done, note=note)
        self._lines = shown and unit is not None and not console.is_terminal
        self._last_line = time.monotonic()
        if self._lines and done:
            console.print(f"{self}; going on with {note}")

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.update(self.done + count)

    def update(self, done: int, note: str | None = None) -> None:
        """So many are done, at most all, where one process reckons for others too; None leaves the note as it is."""
        self.done = done if self.total is None else min(done, self.total)
        self.note = self.note if note is None else note
        self._bar.update(self._task, completed=self.done, note=self.note)
        if self._lines and time.monotonic() - self._last_line > EVERY:
            self._last_line = time.monotonic()
            console.print(f"{self}")

    def describe(self, note: str) -> None:
        """Say what is being done, from any thread."""
        self.note = note
        self._bar.update(self._task, note=note)

    def __str__(self) -> str:
        return f"{self.name}: {self.done:,} of {'?' if self.total is None else f'{self.total:,}'} {self.unit} done"

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()


def tracked(items: Iterable[Item], message: str, total: int | None = None) -> Iterable[Item]:
    """The items, with a bar that vanishes on standard error where that is a terminal."""
    return progress.track(items, message, total, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
