"""``logitpair`` in processes of its own, which are forked from one that has imported it instead of importing it again each.

A start costs milliseconds instead of seconds; what is tested is the same: a process, its exit code, its output, its end by a signal.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from many_processes import FORKED

FORKED.set_forkserver_preload(
    [
        *("sklearn.datasets", "pandas", "torch._dynamo", "PIL.Image", "jsonargparse", "matplotlib.figure", "scipy.stats"),
        *("logitpair.cli.main", "logitpair.cli.commands.train", "logitpair.cli.commands.evaluate", "logitpair.cli.commands.audit"),
        *("logitpair.cli.commands.transfer", "logitpair.cli.commands.sweep", "logitpair.cli.commands.report", "logitpair.training.train"),
    ]
)


@dataclass(frozen=True)
class Done:
    """How processes ended: their exit codes, and what all of them wrote."""

    codes: Sequence[int | None]
    stdout: str
    stderr: str

    @property
    def code(self) -> int | None:
        """The exit code of all, where they agree."""
        return self.codes[0] if len(set(self.codes)) == 1 else None


class Started:
    """Processes on their way."""

    def __init__(self, processes: Sequence[BaseProcess], out: Path, err: Path) -> None:
        self.processes, self.out, self.err = processes, out, err

    @property
    def pid(self) -> int:
        return self.processes[0].pid or 0

    @property
    def running(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def wait(self, seconds: float = 600) -> Done:
        """Until all have ended; those that take longer are killed, which their exit codes show."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        return Done([process.exitcode for process in self.processes], self.out.read_text(), self.err.read_text())

    def wait_until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Until ``condition`` holds, as long as they run."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.running, "it ended before its time: " + self.err.read_text()[-2000:]
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        """Send the first of them a signal."""
        os.kill(self.pid, number)


def start(logs: Path, *arguments: str, processes: int = 1, cwd: Path | None = None) -> Started:
    """``logitpair ARGUMENTS`` in one process, or in several as ``torchrun`` would start them; ``logs`` is a folder for their output."""
    return call(logs, _command, [str(argument) for argument in arguments], processes=processes, cwd=cwd)


def run(logs: Path, *arguments: str, processes: int = 1, cwd: Path | None = None) -> Done:
    """The same, to its end."""
    return start(logs, *arguments, processes=processes, cwd=cwd).wait()


def call(logs: Path, work: Callable[..., None], *arguments: Any, processes: int = 1, cwd: Path | None = None) -> Started:
    """``work(*arguments)`` in processes of its own."""
    logs.mkdir(parents=True, exist_ok=True)
    out, err = logs / "stdout.txt", logs / "stderr.txt"
    for file in (out, err):
        file.write_text("")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {name: str(value) for name, value in place.items()} if processes > 1 else {}
        process = FORKED.Process(target=_in_place, args=(out, err, cwd or logs, environment, work, arguments))
        process.start()
        started.append(process)
    return Started(started, out, err)


def _in_place(out: Path, err: Path, cwd: Path, environment: dict[str, str], work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.environ |= environment
    os.chdir(cwd)
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    torch.set_num_threads(1)
    work(*arguments)


def _command(arguments: list[str]) -> None:
    from logitpair.cli.main import main

    sys.exit(main(arguments))


def script(path: Path, *arguments: str) -> None:
    """Run a Python file as ``python path arguments`` would."""
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")
