"""What the library logs, as the command line shows it."""

from __future__ import annotations

import logging
import sys

from logitpair.runtime.progress import console


class ConsoleHandler(logging.Handler):
    """Messages as plain lines on rich's console, above a progress bar where there is one; warnings on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            print(f"logitpair: {record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)
        else:
            console.print(record.getMessage(), markup=getattr(record, "markup", False))


def log_to_console() -> None:
    """Show what is logged from now on."""
    logger = logging.getLogger("logitpair")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(ConsoleHandler())
