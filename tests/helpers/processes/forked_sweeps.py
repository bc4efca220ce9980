"""``logitpair sweep``, ``reproduce`` and ``demo``, their runs forked from them, as ``commands`` forks its own."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import commands
import torch


def start(logs: Path, *arguments: str) -> commands.Started:
    """``logitpair sweep ARGUMENTS`` in a process of its own; ``logs`` is a folder for its output."""
    return commands.call(logs, _sweep, list(arguments))


def run(logs: Path, *arguments: str) -> commands.Done:
    """The same, to its end."""
    return start(logs, *arguments).wait()


def start_reproduction(logs: Path, targets: dict[str, Any], *arguments: str) -> commands.Started:
    """``logitpair reproduce ARGUMENTS`` of ``targets`` instead of the paper's, in a process of its own."""
    return commands.call(logs, _reproduce, targets, list(arguments))


def start_demo(logs: Path, recipes: Sequence[str], *arguments: str) -> commands.Started:
    """``logitpair demo ARGUMENTS`` of ``recipes`` instead of its own, in a process of its own whose folder is ``logs``."""
    return commands.call(logs, _demo, recipes, list(arguments))


def _sweep(arguments: Sequence[str]) -> None:
    _command(["sweep", *arguments])


def _reproduce(targets: dict[str, Any], arguments: Sequence[str]) -> None:
    from logitpair.reproduction.paper import TARGETS

    TARGETS.clear()
    TARGETS.update(targets)
    _command(["reproduce", *arguments])


def _demo(recipes: Sequence[str], arguments: Sequence[str]) -> None:
    from logitpair.cli.commands import demo

    demo.RECIPES = tuple(recipes)  # type: ignore[assignment]
    _command(["demo", *arguments])


def _command(arguments: Sequence[str]) -> None:
    from logitpair.cli.main import main
    from logitpair.sweeps import runner

    runner.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": _Forked})  # type: ignore[assignment]
    sys.exit(main(list(arguments)))


class _Forked(subprocess.Popen):  # type: ignore[type-arg]
    """A process with the pipes, files and group that were asked for, which goes on as ``python -m MODULE`` without starting a Python."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], **how: Any) -> None:
        super().__init__(command, preexec_fn=partial(_module, command[command.index("-m") + 1 :], env), **how)


def _module(command: Sequence[str], environment: Mapping[str, str]) -> None:
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # as starting a program does; one of them tells the parent that it has
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    os.environ.clear()
    os.environ |= environment
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.argv[:] = command
    code: Any = 0
    try:
        runpy.run_module(command[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code or 0)
