"""``python -m logitpair.sweeps.child COMMAND ...``: the command line, ended at once when the sweep that began it is gone."""

import os
import runpy
import threading


def end_with_parent() -> None:
    """Wait for the end of standard input, which the parent holds open; two processes must never train the same run."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    runpy.run_module("logitpair", run_name="__main__")
