"""Sweeps that train: on tiny settings, stopped, killed, resumed, and with a run that diverges."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
from pathlib import Path

import commands
import fake_slurm
import forked_sweeps
import pytest
import torch
from command_line import failing
from msgspec.structs import replace

import logitpair as lp
from logitpair.cli.main import main
from logitpair.runs.run_directory import load_config
from logitpair.storage.result_files import read_record
from logitpair.storage.results import Axis, EvaluationResults, SweepResults, Training
from logitpair.sweeps import record

TINY = ["digits-alp", "--scale", "smoke", "--epochs", "0.2", "--examples", "40"]
GRID = [*TINY, "--objective.weight", "0,0.5", "--seeds", "2", "--jobs", "2"]


def without_times(results: SweepResults) -> SweepResults:
    return replace(results, runs=tuple(replace(run, seconds=None, evaluated=None) for run in results.runs))


def finished(out: Path) -> int:
    return sum(run.status == "finished" for run in record.read(out).runs)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep") / "sweep"
    done = forked_sweeps.run(out.parent, *GRID, "--out", str(out))
    assert done.code == 0, done.stderr
    return out


def test_each_run_is_an_ordinary_run(swept: Path) -> None:
    results = record.read(swept)
    assert results.axes == (Axis(setting="objective.weight", values=(0, 0.5)),)
    assert results.overrides == {"epochs": 0.2}
    assert [run.path for run in results.runs] == [f"objective.weight={w}/seed-{s}" for w in ("0", "0.5") for s in (0, 1)]
    for run in results.runs:
        folder = swept / run.path
        evaluation = read_record(folder / "evaluation" / "test" / "results.json", EvaluationResults, "logitpair evaluate")
        training = read_record(folder / "training.json", Training, "logitpair train")
        assert run.clean is not None
        assert run.white_box is not None
        assert run.white_box.correct == evaluation.white_box.correct
        assert run.white_box.total == 40
        assert run.clean.ci95 == evaluation.clean.ci95
        assert run.white_box.parameters == evaluation.attacks["pgd"].parameters
        assert run.hardware == training.hardware
        assert training.hardware.threads == 1
        settings = load_config(folder)[0]["run"]
        assert settings["seed"] == run.seed
        assert settings["objective"]["init_args"]["weight"] == run.settings["objective.weight"]
        assert lp.load(folder)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert (swept / "sweep.html").exists()
    assert (swept / "sweep.svg").exists()


def test_seeds_differ_and_a_run_equals_a_single_training(swept: Path, tmp_path: Path) -> None:
    run = swept / "objective.weight=0.5" / "seed-1"
    config = str(run / "config.yaml")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(["train", config, "--out", str(tmp_path / "run")]) == 0
    finally:
        torch.set_num_threads(threads)
    alone, swept_run, other = (lp.load(folder).state_dict() for folder in (tmp_path / "run", run, run.with_name("seed-0")))
    assert all(torch.equal(value, swept_run[key]) for key, value in alone.items())
    assert not all(torch.equal(value, other[key]) for key, value in alone.items())


def test_the_same_command_again_does_nothing(swept: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "logitpair")
    before = {path: path.stat().st_mtime_ns for path in swept.rglob("*") if path.name in ("results.json", "last.pt", "training.json")}
    results = record.read(swept)
    assert main(["sweep", *GRID, "--out", str(swept)]) == 0
    assert "4 of them finished before" in caplog.text
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert record.read(swept) == results


@pytest.mark.slow
def test_runs_that_are_jobs_give_the_same_sweep(swept: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    out = tmp_path / "sweep"
    options = [*TINY, "--objective.weight", "0,0.5", "--jobs", "2", "--executor", "local", "--out", str(out)]
    assert main(["sweep", *options]) == 0
    of_seed_0 = [run for run in without_times(record.read(swept)).runs if run.seed == 0]
    assert list(without_times(record.read(out)).runs) == of_seed_0
    logs = [path.read_text() for path in (out / "jobs").glob("*.out")]
    assert sorted(log.split(": Training")[0].splitlines()[-1] for log in logs) == [
        "objective.weight=0.5/seed-0",
        "objective.weight=0/seed-0",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--executor", "kubernetes"], "--executor: 'kubernetes' is not accepted; accepted: slurm, local"),
        (["--slurm", "partition=gpu"], "--slurm: goes with --executor slurm"),
        (["--executor", "slurm", "--slurm", "partition"], "--slurm: 'partition' is not KEY=VALUE, such as partition=gpu"),
        (
            ["--executor", "slurm"],
            "'auto' looks at this machine, not at the cluster's; accepted with --executor slurm: cuda, cpu",
        ),
        (["--executor", "slurm", "--device", "cuda"], "--precision: auto looks at this machine, not at the cluster's"),
    ],
)
def test_options_of_jobs_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    pytest.importorskip("submitit")
    fake_slurm.install(tmp_path / "slurm", monkeypatch)
    assert message in failing(capsys, "sweep", *GRID, *options, "--out", str(tmp_path / "sweep"))


def test_a_missing_submitit_is_one_line_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    line = failing(capsys, "sweep", *GRID, "--executor", "local", "--out", str(tmp_path / "sweep"))
    assert line.endswith("pip install 'logitpair[cluster]'")


def test_killed_in_the_middle_and_resumed_gives_the_same_sweep(swept: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    killed = forked_sweeps.start(tmp_path, *GRID, "--out", str(out))
    killed.wait_until(lambda: (out / "sweep.json").exists() and finished(out) >= 1)
    killed.signal(signal.SIGKILL)
    assert killed.wait().code  # -SIGKILL, or 255 where the fork server was killed with its child before it told
    assert 1 <= finished(out) < 4
    done = forked_sweeps.run(tmp_path, *GRID, "--out", str(out))
    assert done.code == 0, done.stderr
    assert without_times(record.read(out)) == without_times(record.read(swept))


def test_sigterm_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    settings = ["digits-plain", "--epochs", "2000", "--optimizer.lr", "0.001,0.002", "--checkpoint_every", "1000000"]
    stopped = forked_sweeps.start(tmp_path, *settings, "--out", str(out))
    metrics = out / "optimizer.lr=0.001" / "seed-0" / "metrics.jsonl"
    stopped.wait_until(lambda: metrics.exists() and metrics.stat().st_size > 0)
    stopped.signal(signal.SIGTERM)
    done = stopped.wait(60)
    assert done.code == 130
    (line,) = done.stderr.strip().splitlines()
    assert "0 of 2 runs finished" in line
    assert "same command again" in line
    assert (metrics.parent / "checkpoints" / "last.pt").exists()  # the process saved before it ended
    assert {run.status for run in record.read(out).runs} == {"pending"}


def test_a_run_that_diverges_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    out = tmp_path / "-x"  # which is no option of the commands that the sweep gives
    done = forked_sweeps.run(tmp_path, *TINY, "--objective.weight", "1e30,0", "--objective.warmup", "0", "--out=-x")
    assert done.code == 3
    failed, other = record.read(out).runs
    assert failed.status == "failed"
    assert failed.message is not None
    assert "not finite" in failed.message
    assert other.status == "finished"
    assert "1 of 2 runs failed" in done.stderr
    assert "not finite" in done.stderr
    assert (out / "sweep.html").exists()


def test_an_input_that_only_a_run_can_refuse_stops_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nowhere"
    assert main(["sweep", "folder-alp", "--data-dir", str(missing), "--objective.weight", "0,1", "--out", str(tmp_path / "s")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "nowhere" in line


def test_a_mistake_that_only_a_run_can_see_names_the_run_and_may_be_dropped(tmp_path: Path) -> None:
    def sweep(layers: str) -> commands.Done:
        settings = ["digits-featurepairing", "--scale", "smoke", "--epochs", "0.1", "--examples", "20", "--objective.layers", layers]
        return forked_sweeps.run(tmp_path, *settings, "--out", str(tmp_path / "s"))

    done = sweep('["nolayer"],["hidden"]')
    assert done.code == 2
    (line,) = done.stderr.strip().splitlines()
    assert "objective.layers=-nolayer-/seed-0: " in line
    assert sweep('["conv2"],["hidden"]').code == 0
    assert [run.status for run in record.read(tmp_path / "s").runs] == ["finished", "finished"]
    done = sweep('["conv1"],["hidden"]')
    assert done.code == 2, "conv2 has begun"
    assert "keep those and add to them" in done.stderr


def test_fewer_images_are_refused_before_anything_is_run(swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(swept, tmp_path / "sweep")
    before = (folder / "sweep.json").read_bytes()
    assert main(["sweep", *GRID, "--examples", "3", "--out", str(folder)]) == 2
    assert "this one has 3; give as many, or another --out" in capsys.readouterr().err
    assert (folder / "sweep.json").read_bytes() == before


def test_results_are_of_their_settings_when_the_weights_are_gone(swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(swept, tmp_path / "sweep")
    for checkpoints in folder.glob("*/*/checkpoints"):
        shutil.rmtree(checkpoints)
    assert main(["sweep", *GRID[:4], "0.3", *GRID[5:], "--out", str(folder)]) == 2
    assert "was begun with epochs" in capsys.readouterr().err


def test_other_settings_in_the_same_folder_are_refused(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (swept / "sweep.json").read_bytes()
    changed = [*GRID[:4], "0.3", *GRID[5:]]
    assert main(["sweep", *changed, "--out", str(swept)]) == 2
    assert "epochs" in capsys.readouterr().err
    assert (swept / "sweep.json").read_bytes() == before
