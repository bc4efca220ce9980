"""One run of a sweep, ``python -m logitpair.sweeps.child '[["train", ...], ["evaluate", ...]]'``: commands until one fails."""

import json
import os
import runpy
import sys
import threading


def end_with_parent() -> None:
    """Wait for the end of standard input, which the parent holds open; two processes must never train the same run."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    for arguments in json.loads(sys.argv[1]):
        sys.argv[1:] = arguments
        try:
            runpy.run_module("logitpair", run_name="__main__")  # which exits
        except SystemExit as end:
            if end.code:
                raise
