"""What the terminal shows: what the library logs, and tables."""

import logging
import sys
from collections.abc import Iterable, Sequence

from rich.table import Column, Table

from logitpair.runtime.progress import console


class ConsoleHandler(logging.Handler):
    """Messages as plain lines on rich's console, above a progress bar where there is one; warnings on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            print(f"logitpair: {record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)
        else:
            console.print(record.getMessage(), markup=False)


def log_to_console() -> None:
    """Show what is logged from now on."""
    logger = logging.getLogger("logitpair")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(ConsoleHandler())


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """A table."""
    table = Table(*(Column(name, overflow="fold") for name in columns), title=title)  # a name cut short could be any attack's
    for row in rows:
        table.add_row(*row)
    console.print(table)
