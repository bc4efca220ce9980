"""Signals that wait for the step to end."""

from __future__ import annotations

import os
import signal

import pytest

from logitpair.runtime.signals import GracefulStop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_however_often_it_comes_and_ctrl_c_then_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    if before == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
    try:
        with GracefulStop() as stop:
            assert not stop.requested
            os.kill(os.getpid(), number)
            assert stop.requested
            os.kill(os.getpid(), number)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(number, before)


def test_the_end_of_the_terminal_is_ignored_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with GracefulStop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
