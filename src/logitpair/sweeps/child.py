"""One run of several, ``python -m logitpair.sweeps.child '[["train", ...], ["evaluate", ...]]' [NAME]``: commands until one fails."""

import io
import json
import logging
import os
import runpy
import signal
import sys
import threading

from logitpair.runtime.signals import QUEUEING


def end_with_parent() -> None:
    """Wait for the end of standard input, which the parent holds open; two processes must never train the same run."""
    while os.read(0, 1):
        pass
    os._exit(1)


def log_under(name: str) -> None:
    """Leave to standard output what is logged, after a name; of several commands side by side, tables and next steps are one too many."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
        log = logging.StreamHandler(sys.stdout)
        log.setFormatter(logging.Formatter(f"{name}: {{message}}", style="{"))
        log.addFilter(lambda record: record.levelno < logging.WARNING)  # those are on standard error
        logging.getLogger("logitpair").addHandler(log)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (for as long as the process lives)


if __name__ == "__main__":
    for number in QUEUEING:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    every, *named = sys.argv[1:]
    for name in named:
        log_under(name)
    for arguments in json.loads(every):
        sys.argv[1:] = arguments
        try:
            runpy.run_module("logitpair", run_name="__main__")  # which exits
        except SystemExit as end:
            if end.code:
                raise
