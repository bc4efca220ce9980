"""Runs as jobs, by submitit: each trained and evaluated by the command line, wherever its job starts. A job imports no torch itself."""

import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from logitpair.errors import InputError, first_line
from logitpair.runtime.signals import QUEUEING
from logitpair.sweeps.runner import INTERRUPTED, Commands, Outcome, heed, run_commands

DEFAULTS = {"job_name": "logitpair", "time": 24 * 60}
OF_ONE_PROCESS = ("nodes", "ntasks_per_node")  # more of them would train the same run
REQUEUED = 1000  # times at most that a job whose time is over is queued again
POLL = 0.5  # seconds between two looks
STOPPED = (INTERRUPTED, *(-number for number in (signal.SIGTERM, *QUEUEING)))  # exit codes of a run that was stopped from outside


@dataclass
class Job:
    """A run's commands as the work of a job: stopped before its end they are queued again, and go on from what was saved.

    Args:
        name: of the run, for the job's log.
        commands: of the run.
        environment: what they find in their environment besides the job's own.
    """

    name: str
    commands: Commands
    environment: Mapping[str, str]

    def __call__(self) -> Outcome:
        self._signals, self._outcomes = list[signal.Signals](), list[Outcome]()
        # In a thread, since `checkpoint` is called by the handler of a signal, which keeps the main thread from all else.
        threading.Thread(target=self._carry_out).start()
        try:
            outcome = self._ended()
            while outcome.code in STOPPED:  # by the cluster, which sends the signal that queues again, or ends the job and does so itself
                time.sleep(POLL)
            return outcome
        finally:
            self._signals.append(signal.SIGTERM)

    def checkpoint(self) -> Any:
        """What submitit calls before the job's time is over, or when it is preempted: save, and go on in the same way later."""
        self._signals.append(signal.SIGTERM)
        self._ended()
        return import_module("submitit.helpers").DelayedSubmission(Job(self.name, self.commands, self.environment))

    def _carry_out(self) -> None:
        outcome = Outcome(1, "its process could not be started")
        try:
            outcome = run_commands(self.name, self.commands, self.environment, self._signals)
        finally:
            self._outcomes.append(outcome)

    def _ended(self) -> Outcome:
        while not self._outcomes:  # no lock, which a signal's handler would find held by what it interrupted
            time.sleep(POLL)
        return self._outcomes[0]


def executor(kind: str, folder: Path, slurm: Mapping[str, Any]) -> Any:
    """submitit's executor ``local`` or ``slurm``, whose scripts and logs go to ``folder``, which all machines see.

    Raises:
        InputError: for parameters of Slurm that are none, and where submitit or Slurm's own commands are missing.
    """
    from logitpair.runtime.lazy_imports import import_optional  # with torch

    submitit = import_optional("submitit", "SlurmExecutor", needed_by=f"--executor {kind}", extra="cluster")
    if kind == "local":
        made = submitit.LocalExecutor(folder)
        made.update_parameters(timeout_min=366 * 24 * 60)
        return made
    parameters = {**DEFAULTS, **slurm}
    if not isinstance(parameters["time"], int):
        raise InputError(f"--slurm: time={parameters['time']} is not accepted; accepted: whole minutes")
    if several := [key for key in OF_ONE_PROCESS if key in slurm]:
        raise InputError(f"--slurm: {several[0]} is not accepted; each run is one process")
    try:
        made = submitit.SlurmExecutor(folder, max_num_timeout=REQUEUED)
    except RuntimeError as error:
        raise InputError(f"--executor slurm: {first_line(error)}") from error
    try:
        made.update_parameters(**parameters)
    except ValueError as error:
        raise InputError(f"--slurm: {' '.join(str(error).split())}") from error
    return made


def submit_all(
    runs: Mapping[str, Commands], jobs: Sequence[Mapping[str, str]], stop: Callable[[], bool], *, executor: Any
) -> Generator[tuple[str, Outcome]]:
    """``runner.run_all``, by jobs of submitit's ``executor``, of which as many are queued as there are environments of ``jobs``.

    However this ends, jobs are cancelled: Slurm asks their runs to save, and kills them after its ``KillWait``.

    Raises:
        InputError: for what a command refuses, and a job that cannot be submitted.
        KeyboardInterrupt: once ``stop()``, which is polled, is true.
    """
    waiting, idle = list(runs.items()), list(jobs)
    pending: dict[Any, tuple[str, Mapping[str, str]]] = {}
    warned: set[str] = set()
    try:
        while waiting or pending:
            while waiting and idle:
                (name, commands), environment = waiting.pop(0), idle.pop(0)
                pending[_submit(executor, Job(name, commands, environment))] = name, environment
            if stop():
                raise KeyboardInterrupt
            for job in [job for job in pending if job.done()]:
                name, environment = pending.pop(job)
                idle.append(environment)
                outcome = _outcome(job)
                heed(name, outcome, warned)
                yield name, outcome
            time.sleep(POLL)
    finally:
        for job in pending:
            job.cancel(check=False)


def _submit(executor: Any, job: Job) -> Any:
    try:
        return executor.submit(job)
    except Exception as error:  # whatever stands between here and the queue
        raise InputError(f"--executor: cannot submit {job.name} ({' '.join(str(error).split())})") from error


def _outcome(job: Any) -> Outcome:
    try:
        return job.result()
    except Exception as error:  # of submitit's, for a job that was killed or never started
        return Outcome(1, f"job {job.job_id} has left no result ({first_line(error)}); its log is {job.paths.stderr}")
