"""One training at a time in a run directory."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from logitpair import InputError
from logitpair.cli.main import main
from logitpair.storage import run_lock

HOLD = """
import os, sys, time
from pathlib import Path
from logitpair.storage.run_lock import held
with held(Path(sys.argv[1])):
    if os.fork() == 0:  # as a process that loads images, which may outlive this one
        time.sleep(60)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder ``run``, and a child of it."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        os.killpg(process.pid, signal.SIGKILL)


def test_another_process_is_refused_until_the_first_is_dead(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(InputError, match=f"^--out: {tmp_path / 'run'} is in use by another process"),
        run_lock.held(tmp_path / "run"),
    ):
        pass
    with run_lock.held(tmp_path / "other"):
        pass
    holder.kill()
    holder.wait()
    with run_lock.held(tmp_path / "run"):
        pass


@pytest.mark.parametrize(
    "command",
    [
        ["sweep", "digits-plain", "--scale", "smoke", "--optimizer.lr", "0.1,0.2"],
        ["reproduce", "table1", "--scale", "smoke", "--data-dir", "nowhere"],
    ],
)
def test_a_second_sweep_or_reproduction_is_refused(
    tmp_path: Path, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert "is in use by another process; wait for its end, or give another folder" in capsys.readouterr().err


def test_a_second_training_changes_nothing(tmp_path: Path, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits-plain", "--epochs", "0.1", "--out", str(tmp_path / "run")]) == 2
    assert "is in use by another process; wait for its end" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [run_lock.NAME]


@pytest.mark.parametrize("there", [True, False])
def test_where_there_are_no_locks_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    def unknown(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    fcntl = SimpleNamespace(lockf=unknown, LOCK_EX=2, LOCK_NB=4)
    monkeypatch.setattr(run_lock, "fcntl", fcntl if there else None)
    with run_lock.held(tmp_path / "run"):
        pass


SHARE = HOLD.replace("sys.argv[1])", "sys.argv[1]), shared=True")


def test_workers_of_one_training_share_the_run_and_hold_others_out(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SHARE, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with run_lock.held(tmp_path / "run", shared=True):
            pass
        with pytest.raises(InputError, match="is in use by another process"), run_lock.held(tmp_path / "run"):
            pass
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_where_nothing_can_be_written_there_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    with run_lock.held(tmp_path):
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OSError, match="No space"), run_lock.held(tmp_path):
        pass
