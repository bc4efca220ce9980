"""Where the installed command begins: outside the package, whose import takes seconds in which Ctrl-C may come."""

from __future__ import annotations

import sys


def main() -> int:
    """Run ``logitpair.cli.main.main``; 130 when interrupted before it is there."""
    try:
        from logitpair.cli.main import main as run
    except KeyboardInterrupt:
        print("logitpair: interrupted; nothing was begun", file=sys.stderr)
        return 130
    return run()
