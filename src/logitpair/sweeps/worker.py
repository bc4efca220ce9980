"""A process of a sweep: carries out the command lines that it reads, and ends at once when nobody writes to it any more."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import sys
import threading
import traceback
from typing import Any

from logitpair.cli import main as cli

PREFIX = "logitpair: "


def main() -> None:
    """For each line of standard input, a JSON list of command lines, write one JSON line: ``code``, ``message``, ``warnings``."""
    os.environ.pop(cli.TRACEBACK, None)  # an error is an answer here
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    tasks: queue.SimpleQueue[list[list[str]]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    while True:
        answers.write(json.dumps(carry_out(tasks.get())) + "\n")
        answers.flush()


def _read(tasks: queue.SimpleQueue[list[list[str]]]) -> None:
    for line in sys.stdin:
        tasks.put(json.loads(line))
    os._exit(0)  # whoever began this process has ended, perhaps killed: two must never train the same run


def carry_out(commands: list[list[str]]) -> dict[str, Any]:
    """Run the commands until one fails: its exit code, its last line of error, and all warnings."""
    errors = io.StringIO()
    code, message = 0, ""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        for command in commands:
            try:
                code = cli.main(command)
            except Exception as error:
                code, message = 1, f"{type(error).__name__}: {error}".splitlines()[0]
                traceback.print_exc(file=sys.__stderr__)
            if code:
                break
    said = [line.removeprefix(PREFIX) for line in errors.getvalue().splitlines() if line.startswith(PREFIX)]
    warned = [line for line in said if line.startswith("warning: ")]
    told = [line.removeprefix("error: ") for line in said if line not in warned]
    return {"code": code, "message": message or (told[-1] if code and told else ""), "warnings": warned}


if __name__ == "__main__":
    main()
