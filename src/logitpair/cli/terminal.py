"""What the terminal shows: what the library logs, tables, and the command to go on with."""

import contextlib
import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.cells import cell_len
from rich.table import Column, Table

from logitpair.runtime.progress import console

UNLIMITED = 1_000_000  # columns


class ConsoleHandler(logging.Handler):
    """Messages as plain lines on rich's console, above a progress bar where there is one; warnings on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            with contextlib.suppress(OSError):  # as in `main`
                print(f"logitpair: {record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)
        else:
            console.print(record.getMessage())


def log_to_console() -> None:
    """Show what is logged from now on."""
    logger = logging.getLogger("logitpair")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(ConsoleHandler())


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """A table; where no terminal limits its width, such as in a log file, no line of it is broken.

    In a terminal too narrow for the longest words of its columns each value has a line, after its column's name.
    """
    rows = list(rows)
    widths = [max(cell_len(word) for text in column for word in ("", *text.split())) for column in zip(columns, *rows, strict=True)]
    table = Table(*(Column(name, min_width=width) for name, width in zip(columns, widths, strict=True)), title=title)
    for row in rows:
        table.add_row(*row)
    needed = console.measure(table, options=console.options.update_width(UNLIMITED))
    if not console.file.isatty():
        table.width = needed.maximum
    elif needed.minimum > console.width:
        named = ["\n".join(map(": ".join, zip(columns, row, strict=True))) for row in rows]
        console.print(*filter(None, [title]), *named, sep="\n\n")
        return
    console.print(table)


def print_next(*words: str | Path) -> None:
    """The command to go on with, as a shell takes it."""
    console.print(f"Next: {shlex.join(map(str, words))}")
