"""The runs of a sweep, side by side: each trained and evaluated by the command line, in processes that end with this one."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass

POLL = 0.2  # seconds between two looks at a process, and at whether to stop
BAD_INPUT, INTERRUPTED = 2, 130  # exit codes of the command line
PREFIX = "logitpair: "  # of the command line's own lines on standard error

Commands = Sequence[Sequence[str]]
"""``logitpair`` command lines without the program's name, carried out one after the other until one fails."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run's commands: the exit code of the one that failed or 0, its line of error, and what they warned of."""

    code: int
    message: str = ""
    warnings: tuple[str, ...] = ()


def environments(jobs: int, *, threads: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """The environment of each job: its threads, and the one GPU it sees, taken in turn where there are more jobs than GPUs."""
    pinned = [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {} for i in range(jobs)]
    return [{"OMP_NUM_THREADS": str(threads)} | gpu for gpu in pinned]


def run_all(runs: Mapping[str, Commands], jobs: Sequence[Mapping[str, str]], stop: Callable[[], bool]) -> Generator[tuple[str, Outcome]]:
    """Carry out the commands of all runs, and yield the name and the outcome of each run as it ends.

    Args:
        runs: the commands of each run, by its name.
        jobs: the environment of each of the runs that go on side by side.
        stop: polled; once it is true, the processes are asked to save and to end.

    Raises:
        KeyboardInterrupt: when ``stop`` was true.
    """
    signals: list[signal.Signals] = []  # each is sent to every process; after the first, none starts
    idle: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
    for environment in jobs:
        idle.put(environment)

    def run(commands: Commands) -> Outcome:
        environment, code, lines = idle.get(), 0, list[str]()
        try:
            for command in commands:
                code, errors = (INTERRUPTED, "") if signals else _run(command, environment, signals)
                lines += errors.splitlines()
                if code:
                    break
        finally:
            idle.put(environment)
        return _outcome(code, lines)

    with ThreadPoolExecutor(len(jobs)) as pool:
        pending = {pool.submit(run, commands): name for name, commands in runs.items()}
        try:
            while pending:
                ended, _ = wait(pending, timeout=POLL, return_when=FIRST_COMPLETED)
                if stop():
                    raise KeyboardInterrupt
                for future in ended:
                    yield pending.pop(future), future.result()
        finally:
            try:
                signals.append(signal.SIGTERM)
                wait(pending)
            except KeyboardInterrupt:  # a second Ctrl-C does not wait for the processes to save
                signals.append(signal.SIGKILL)
                raise


def _run(command: Sequence[str], environment: Mapping[str, str], signals: Sequence[signal.Signals]) -> tuple[int, str]:
    """The exit code of a process and what it wrote to standard error."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(  # noqa: S603  (our own command line)
            [sys.executable, "-m", "logitpair.sweeps.child", *command],
            env={**os.environ, **environment, "LOGITPAIR_TRACEBACK": ""},  # an error is one line
            stdin=subprocess.PIPE,  # open as long as this process lives
            stdout=subprocess.DEVNULL,
            stderr=errors,
            process_group=0,  # Ctrl-C reaches the sweep alone, which then asks each process once
        ) as process,
    ):
        sent = 0
        while process.poll() is None:
            for number in signals[sent:]:
                process.send_signal(number)
                sent += 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
        errors.seek(0)
        return process.returncode, errors.read()


def _outcome(code: int, lines: Sequence[str]) -> Outcome:
    own = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    warnings = [line.removeprefix("warning: ") for line in own if line.startswith("warning: ")]
    errors = [line.removeprefix("error: ") for line in own if not line.startswith("warning: ")]
    if code < 0:
        errors = [f"its process ended by signal {-code}"]
    elif code and not errors:  # an error of ours, whose traceback ends by naming it
        errors = [lines[-1] if lines else f"its process ended with exit code {code}"]
        sys.stderr.write("\n".join([*lines, ""]))
    return Outcome(code, errors[-1] if code else "", tuple(warnings))
