"""Processes that carry out command lines side by side: each has its own threads or GPU, and they end with the one that began them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LOOK = 0.2  # seconds between two looks at whether to stop


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    Args:
        code: exit code of the first command that failed, or 0.
        message: its line of error.
        warnings: lines that the commands warned with.
    """

    code: int
    message: str = ""
    warnings: list[str] = field(default_factory=list)


def environments(jobs: int, *, threads: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """The environment of each worker: its threads, and the one GPU it sees, taken in turn where there are more workers than GPUs."""
    pinned = [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {} for i in range(jobs)]
    return [{"OMP_NUM_THREADS": str(threads)} | gpu for gpu in pinned]


def carry_out(
    tasks: Mapping[str, list[list[str]]], workers: Sequence[Mapping[str, str]], stop: Callable[[], bool]
) -> Generator[tuple[str, Answer]]:
    """Hand the tasks to workers, and yield the name and the answer of each as it ends.

    Args:
        tasks: by name, ``logitpair`` command lines without the program's name, one after the other until one fails.
        workers: the environment of each worker process.
        stop: asked again and again; once it says so, the workers save what they do and end.

    Raises:
        KeyboardInterrupt: when ``stop`` said so.
    """
    waiting: queue.SimpleQueue[tuple[str, list[list[str]]]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Answer]] = queue.SimpleQueue()
    for task in tasks.items():
        waiting.put(task)
    crew = [_Worker(environment, waiting, done) for environment in workers[: len(tasks)]]
    try:
        for worker in crew:
            worker.thread.start()
        for _ in tasks:
            yield _next(done, stop)
    finally:
        for worker in crew:
            worker.stop()
        for worker in crew:
            worker.thread.join()


def _next(done: queue.SimpleQueue[tuple[str, Answer]], stop: Callable[[], bool]) -> tuple[str, Answer]:
    while not stop():
        try:
            return done.get(timeout=LOOK)
        except queue.Empty:
            continue
    raise KeyboardInterrupt


class _Worker:
    """A thread that feeds one process, and starts another where it died."""

    def __init__(self, environment: Mapping[str, str], waiting: queue.SimpleQueue[Any], done: queue.SimpleQueue[Any]) -> None:
        self.environment = {**os.environ, **environment}
        self.waiting, self.done = waiting, done
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.lock = threading.Lock()  # no process starts after `stop`
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False

    def stop(self) -> None:
        """Ask the process to save and end; its thread then ends too."""
        with self.lock:
            self.stopped = True
            if self.process is not None:
                self.process.terminate()

    def _serve(self) -> None:
        while not self.stopped:
            try:
                name, commands = self.waiting.get_nowait()
            except queue.Empty:
                break
            answer = self._ask(commands)
            if not self.stopped:
                self.done.put((name, answer))
        if self.process is not None:
            self.process.communicate()  # closes its input, at which it ends, and waits

    def _ask(self, commands: list[list[str]]) -> Answer:
        with self.lock:
            if self.stopped:
                return Answer(130)
            if self.process is None:
                # A group of its own: Ctrl-C reaches the sweep alone, which then asks each worker once.
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "logitpair.sweeps.worker"],
                    env=self.environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    process_group=0,
                )
        process = self.process
        line = ""
        if process.stdin and process.stdout:  # both are pipes
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(commands) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
        if line:
            return Answer(**json.loads(line))
        process.communicate()  # waits, and closes the pipes
        self.process = None
        code = process.returncode
        return Answer(1, f"its process ended {f'by signal {-code}' if code < 0 else f'with exit code {code}'}")
