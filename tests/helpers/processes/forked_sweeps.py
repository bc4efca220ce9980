"""``logitpair sweep``, ``reproduce`` and ``demo``, their runs forked from them, as ``commands`` forks its own."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection, forkserver, reduction
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Self

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


class _Forked:
    """A process that goes on as ``python -m MODULE`` without starting a Python: what sweeps use of ``subprocess.Popen``.

    The fork server forks it, not this process: a thread of this one may hold a lock, which in the copy nobody would ever release.
    """

    lock = threading.Lock()  # starting a process reads how the others ended, which only one thread may do

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], stdout: int | None, stderr: IO[str], **_: Any) -> None:
        forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]  # it began this process, and lives
        stdin, self.stdin = os.pipe()
        with open(os.devnull, "w") as nowhere, self.lock:
            inherited = [_Descriptor(number) for number in (stdin, nowhere.fileno() if stdout else 1, stderr.fileno())]
            self.process = commands.FORKED.Process(
                target=_module, args=(inherited, command[command.index("-m") + 1 :], dict(env), os.getcwd())
            )
            self.process.start()
        os.close(stdin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.join()
        os.close(self.stdin)

    @property
    def returncode(self) -> int | None:
        with self.lock:
            return self.process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, seconds: float) -> None:
        connection.wait([self.process.sentinel], seconds)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.process.pid or 0, number)


class _Descriptor:
    """An open file among a new process's arguments, where it is a number again."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _number, (reduction.DupFd(self.number),)


def _number(sent: Any) -> int:
    return sent.detach()


def _module(inherited: Sequence[int], command: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
    for number, opened in enumerate(inherited):
        os.dup2(opened, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # as starting a program does
    os.setpgid(0, 0)
    os.chdir(folder)
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
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)
