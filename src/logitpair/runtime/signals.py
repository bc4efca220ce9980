"""Ctrl-C, and the end of the terminal, that wait for the step to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

QUEUEING = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
"""What submitit has Slurm send to all processes of a job that is to be queued again; those of a run would end by it, without saving."""


class GracefulStop:
    """While entered, SIGINT, SIGTERM or SIGHUP sets ``requested``; SIGINT after any of them interrupts at once.

    SIGTERM may come twice for one request: a cluster sends it to all processes of a job, of which torchrun passes its own on.
    Under ``nohup``, which has SIGHUP ignored, it stays so.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> GracefulStop:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _signals()}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def _signals() -> list[signal.Signals]:
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    heeded = [] if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN else [hangup]
    return [signal.SIGINT, signal.SIGTERM, *heeded]
