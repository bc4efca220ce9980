"""Runs as jobs: what they end with, and that they save and go on where a cluster stops them, on a Slurm of one machine."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_slurm
import pytest

from logitpair.errors import InputError
from logitpair.storage import checkpoint
from logitpair.sweeps.runner import Outcome
from logitpair.sweeps.submitted import executor, submit_all

pytest.importorskip("submitit")
PLACES = [{"OMP_NUM_THREADS": "1"}]


@pytest.fixture
def local(tmp_path: Path) -> Any:
    return executor("local", tmp_path / "jobs", {})


def test_a_run_ends_with_the_first_command_that_is_refused_and_its_line_names_the_run(local: Any) -> None:
    runs = {"good": [["--version"]], "bad": [["--version"], ["train", "digits-apl"], ["audit"]]}
    outcomes = submit_all(runs, PLACES, lambda: False, executor=local)
    assert next(outcomes) == ("good", Outcome(0))
    with pytest.raises(InputError, match="^bad: recipe: no recipe 'digits-apl'.*$"):
        next(outcomes)


def test_a_job_that_is_lost_is_a_run_that_failed(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)
    submit = local.submit

    def lost(work: Any) -> Any:
        job = submit(work)
        job._process.send_signal(signal.SIGKILL)
        return job

    monkeypatch.setattr(local, "submit", lost)
    ((name, outcome),) = submit_all({"run": [["--version"]]}, PLACES, lambda: False, executor=local)
    assert (name, outcome.code) == ("run", 1)
    assert "has left no result" in outcome.message
    assert str(local.folder) in outcome.message


def within(seconds: float, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def preempt(job: str) -> None:
    """What Slurm sends to all processes of a job that is to make room for another one."""
    for number in ("TERM", "USR2"):
        subprocess.run(["scancel", job, "--signal", number], check=True)


@pytest.mark.slow
def test_a_run_saves_and_goes_on_when_its_job_is_preempted_and_saves_when_the_sweep_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = fake_slurm.install(tmp_path / "slurm", monkeypatch)
    run, stopped = tmp_path / "run", threading.Event()
    last, metrics = run / "checkpoints" / "last.pt", run / "metrics.jsonl"
    endless = ["--epochs", "2000", "--checkpoint_every", "1000000", "--validation.every", "2000", "--model.width", "4"]
    commands = [["train", "digits-plain", *endless, "--device", "cpu", "--out", str(run)]]

    def trains_beyond(step: int) -> bool:
        return metrics.exists() and f'"step": {step + 20 - step % 20},' in metrics.read_text()

    reached: list[int] = []

    def cluster() -> None:
        try:
            within(120, lambda: trains_beyond(0))
            preempt("1")
            within(60, last.exists)
            reached.append(checkpoint.load(last)["step"])
            within(120, lambda: trains_beyond(reached[0]))
        finally:
            stopped.set()

    thread = threading.Thread(target=cluster)
    thread.start()
    slurm = executor("slurm", tmp_path / "jobs", {"partition": "gpu", "gpus_per_node": 1})
    with pytest.raises(KeyboardInterrupt):
        list(submit_all({"run": commands}, PLACES, stopped.is_set, executor=slurm))
    thread.join()
    within(60, lambda: checkpoint.load(last)["step"] > reached[0])
    assert log.read_text().splitlines() == ["scancel 1 --signal TERM", "scancel 1 --signal USR2", "requeue 1", "scancel 1"]
    said = (tmp_path / "jobs" / "1_0_log.out").read_text()
    assert f"run: Resuming at step {reached[0]}" in said
    script = (tmp_path / "jobs" / "1_submission.sh").read_text()
    for option in ("--partition=gpu", "--gpus-per-node=1", "--time=1440"):
        assert f"#SBATCH {option}\n" in script


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"partitoin": "gpu"}, r"^--slurm: Unavailable parameter\(s\): \['partitoin'\] Valid parameters are: .*partition"),
        ({"time": "24:00:00"}, "^--slurm: time=24:00:00 is not accepted; accepted: whole minutes$"),
        ({"nodes": 2}, "^--slurm: nodes is not accepted; each run is one process$"),
    ],
)
def test_parameters_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], message: str) -> None:
    fake_slurm.install(tmp_path / "slurm", monkeypatch)
    with pytest.raises(InputError, match=message):
        executor("slurm", tmp_path / "jobs", parameters)


def test_a_machine_without_slurm_and_a_queue_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_slurm.install(tmp_path / "slurm", monkeypatch)
    slurm = executor("slurm", tmp_path / "jobs", {})
    (tmp_path / "slurm" / "bin" / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: invalid partition' >&2; exit 1\n")
    with pytest.raises(InputError, match="^--executor: cannot submit run .*invalid partition"):
        list(submit_all({"run": [["--version"]]}, PLACES, lambda: False, executor=slurm))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match='^--executor slurm: Could not detect "srun"'):
        executor("slurm", tmp_path / "jobs", {})
