"""Runs side by side: each trained and evaluated by the command line, in processes that end with this one."""

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass

from logitpair.errors import InputError

logger = logging.getLogger("logitpair")
POLL = 0.2  # seconds between two looks at a process, and at whether to stop
BAD_INPUT, INTERRUPTED = 2, 130  # exit codes of the command line
PREFIX, WARNING = "logitpair: ", "warning: "  # how the command line's own lines on standard error begin

Commands = Sequence[Sequence[str]]
"""``logitpair`` command lines without the program's name, carried out by one process until one of them fails.

Paths in them stand after ``=`` or ``--``, for one may begin with a dash.
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a run's commands: the exit code of the one that failed or 0, its line of error, and what was warned of."""

    code: int
    message: str = ""
    warnings: tuple[str, ...] = ()


def refuse_torchrun(command: str) -> None:
    """Refuse to be one of several processes of ``torchrun``, each of which would start all runs."""
    if "RANK" in os.environ:
        raise InputError(f"{command}: start it without torchrun; it uses several GPUs by itself")


def environments(jobs: int, *, threads: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """The environment of each job: its threads, and the one GPU it sees, taken in turn where there are more jobs than GPUs."""
    pinned = [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {} for i in range(jobs)]
    return [{"OMP_NUM_THREADS": str(threads)} | gpu for gpu in pinned]


def run_all(
    runs: Mapping[str, Commands],
    jobs: Sequence[Mapping[str, str]],
    stop: Callable[[], bool],
    *,
    then: Callable[[], Mapping[str, Commands]] = dict,
    begin: Callable[[str], None] = lambda name: None,
    shown: bool = False,
) -> Generator[tuple[str, Outcome]]:
    """Carry out the commands of all runs, as many side by side as there are environments of ``jobs``; yield each run's as it ends.

    ``begin`` is called, in another thread, with the name of a run that begins. After each that ends, ``then`` names those that can begin
    now; a name that has begun is not begun again. What a run warns of is logged, each warning once, and with ``shown`` runs write what they
    log to standard output, after their names. However this ends, the processes are asked to save and to end.

    Raises:
        InputError: for what a command refuses.
        KeyboardInterrupt: once ``stop()``, which is polled, is true, or a process was interrupted.
    """
    signals: list[signal.Signals] = []  # each is sent to every process; after the first, none starts
    idle: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
    warned: set[str] = set()
    for environment in jobs:
        idle.put(environment)

    def run(name: str, commands: Commands) -> Outcome:
        environment = idle.get()
        try:
            if signals:
                return Outcome(INTERRUPTED)
            begin(name)
            return run_commands(name if shown else None, commands, environment, signals)
        finally:
            idle.put(environment)

    with ThreadPoolExecutor(len(jobs)) as pool:
        begun, pending = dict(runs), {pool.submit(run, name, commands): name for name, commands in runs.items()}
        try:
            while pending:
                ended, _ = wait(pending, timeout=POLL, return_when=FIRST_COMPLETED)
                if stop():
                    raise KeyboardInterrupt
                for future in ended:
                    name, outcome = pending.pop(future), future.result()
                    heed(name, outcome, warned)
                    yield name, outcome
                    new = {name: commands for name, commands in then().items() if name not in begun}
                    begun |= new
                    pending |= {pool.submit(run, name, commands): name for name, commands in new.items()}
        finally:
            try:
                signals.append(signal.SIGTERM)
                wait(pending)
            except KeyboardInterrupt:  # a second Ctrl-C does not wait for the processes to save
                signals.append(signal.SIGKILL)
                raise


def heed(name: str, outcome: Outcome, warned: set[str]) -> None:
    """Log what a run warned of, unless it is among ``warned``, to which it is added; raise what ends all runs."""
    for warning in dict.fromkeys(outcome.warnings):
        if warning not in warned:
            logger.warning(f"{name}: {warning}")
    warned.update(outcome.warnings)
    if outcome.code == BAD_INPUT:
        refusal, _, advice = outcome.message.rpartition("; ")
        asks_for_another = "give another --" in advice  # of the options of a command that was not typed
        raise InputError(f"{name}: {f'{refusal}; move that folder away' if asks_for_another else outcome.message}")
    if outcome.code == INTERRUPTED:
        raise KeyboardInterrupt


def run_commands(shown: str | None, commands: Commands, environment: Mapping[str, str], signals: Sequence[signal.Signals]) -> Outcome:
    """Carry out a run's commands in a process, which is sent the ``signals`` as they come, and logs after the name ``shown`` if any."""
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        subprocess.Popen(  # noqa: S603  (our own command line)
            [*_python(), "-m", "logitpair.sweeps.child", json.dumps(commands), *([shown] if shown else [])],
            env={**os.environ, **environment, "LOGITPAIR_TRACEBACK": ""},  # an error is one line
            stdin=subprocess.PIPE,  # open as long as this process lives
            stdout=None if shown else subprocess.DEVNULL,
            stderr=errors,
            process_group=0,  # Ctrl-C reaches the sweep alone, which then asks each process
        ) as process,
    ):
        while process.poll() is None:
            for number in signals[-1:]:  # again and again, for a command that is about to end heeds it no more, and the next must not run
                process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
        errors.seek(0)
        return _outcome(process.returncode, errors.read().splitlines())


def _python() -> list[str]:
    """The interpreter, which looks for modules in the current folder only where this one does, as one begun by ``python -m``."""
    here = {"", os.getcwd()} & set(sys.path)
    return [sys.executable, *([] if here else ["-I" if sys.flags.isolated else "-P"])]


def _outcome(code: int, lines: Sequence[str]) -> Outcome:
    """From the exit code and the lines on standard error."""
    own = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    warnings = tuple(line.removeprefix(WARNING) for line in own if line.startswith(WARNING))
    errors = [line.removeprefix("error: ") for line in own if not line.startswith(WARNING)]
    if code < 0:
        errors = [f"its process ended by signal {-code}"]
    elif code and not errors:  # an error that the command line did not expect: its traceback ends by naming it
        errors = [lines[-1] if lines else f"its process ended with exit code {code}"]
        sys.stderr.writelines(f"{line}\n" for line in lines)
    return Outcome(code, errors[-1] if code else "", warnings)
