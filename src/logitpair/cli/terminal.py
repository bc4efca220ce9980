"""What the terminal shows: what the library logs, tables, and the command to go on with."""

import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Column, Table

from logitpair.runtime.progress import console

UNLIMITED = 1_000_000  # columns


class ConsoleHandler(logging.Handler):
    """Messages as plain lines on rich's console, above a progress bar where there is one; warnings on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
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
    """A table; where no terminal limits its width, such as in a log file, no line of it is broken."""
    table = Table(*(Column(name, overflow="fold") for name in columns), title=title)  # a name cut short could be any attack's
    for row in rows:
        table.add_row(*row)
    if not console.file.isatty():
        table.width = console.measure(table, options=console.options.update_width(UNLIMITED)).maximum
    console.print(table)


def print_next(*words: str | Path) -> None:
    """The command to go on with, as a shell takes it."""
    console.print(f"Next: {shlex.join(map(str, words))}")
