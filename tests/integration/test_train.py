"""Training on the digits: killed, interrupted, resumed, diverged, finished."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import commands
import pytest
import torch
from torch import Tensor

import logitpair as lp
from logitpair.cli.main import main
from logitpair.config import parsing, recipes
from logitpair.storage import checkpoint
from logitpair.training.train import train
from logitpair.training.train_step import train_step

# Four epochs of 19 steps: random starts, warm-up, schedule, moving average, validation and checkpoints all take part.
SETTINGS = [
    *("--epochs=4", "--batch_size=64", "--model.width=4", "--objective.attack.steps=4", "--objective.warmup=2", "--ema=0.9"),
    *("--checkpoint_every=3", "--validation.examples=20", "--validation.every=2", "--validation.attack.steps=2"),
    *("--device=cpu", "--precision=float32"),
]
STEPS = 76


def command(out: Path, *more: str) -> list[str]:
    return ["train", "digits-alp", "--out", str(out), *SETTINGS, *more]


def weights(run: Path) -> dict[str, Tensor]:
    return checkpoint.load(run / "checkpoints" / "last.pt")["model"]


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same_training(run: Path, reference: Path) -> None:
    for parts in ("model", "ema"):
        a, b = (checkpoint.load(folder / "checkpoints" / "last.pt")[parts] for folder in (run, reference))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), f"{parts} differs"
    assert checkpoint.load(run / "checkpoints" / "last.pt")["step"] == STEPS
    lines, expected = metrics(run), {line["step"]: line for line in metrics(reference)}
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps)), "a step was written twice"
    for line in lines:
        for key, value in expected.get(line["step"], {}).items():
            if key.startswith("validation") or key in ("step", "epoch", "lr"):
                assert line[key] == value, (line["step"], key)
    assert set(expected) <= set(steps)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert main(command(run)) == 0
    return run


def test_a_run_directory_holds_what_it_should(uninterrupted: Path) -> None:
    names = {path.name for path in uninterrupted.iterdir()}
    assert names >= {"config.yaml", "metrics.jsonl", "checkpoints", "tensorboard", "training.json"}
    assert {path.name for path in (uninterrupted / "checkpoints").iterdir()} == {
        "last.pt",
        "best.pt",
        "step-000000075.pt",
        "step-000000076.pt",
    }
    assert json.loads((uninterrupted / "training.json").read_text())["steps"] == STEPS
    validated = [line["step"] for line in metrics(uninterrupted) if "validation_white_box" in line]
    assert validated == [38, 76]
    assert {path.name for path in uninterrupted.rglob(".*")} == {".lock"}, "temporary files were left behind"


def test_a_damaged_end_is_written_again(uninterrupted: Path) -> None:
    end = uninterrupted / "training.json"
    whole, last = end.read_bytes(), (uninterrupted / "checkpoints" / "last.pt").read_bytes()
    end.write_bytes(whole[:20])
    assert main(command(uninterrupted)) == 0
    assert json.loads(end.read_text())["steps"] == STEPS
    assert (uninterrupted / "checkpoints" / "last.pt").read_bytes() == last


def test_the_network_learns_and_loads_with_its_moving_average(uninterrupted: Path) -> None:
    model = lp.load(uninterrupted)
    assert not model.training
    ema = checkpoint.load(uninterrupted / "checkpoints" / "last.pt")["ema"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, ema[f"module.{name}"])
    test = lp.data.Digits().test()
    assert (model(test.images.float() / 255).argmax(1) == test.labels).float().mean() > 0.5
    assert lp.load(uninterrupted, which="best") is not None


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(uninterrupted: Path, tmp_path: Path) -> None:
    assert main(command(tmp_path / "again")) == 0
    same_training(tmp_path / "again", uninterrupted)
    assert main(command(tmp_path / "other", "--seed", "1", "--epochs", "0.2")) == 0
    assert not torch.equal(weights(tmp_path / "other")["conv1.weight"], weights(uninterrupted)["conv1.weight"])


def test_a_run_that_lost_its_checkpoints_says_that_it_begins_again(uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "metrics.jsonl"):
        (run / name).write_bytes((uninterrupted / name).read_bytes())
    config = parsing.resolve(recipes.load("digits-plain").run, ["--epochs=0.1", "--validation.examples=2"]).config
    with pytest.warns(UserWarning, match="was begun and holds no checkpoint to go on from; it is trained again from its first step"):
        train(config, run, device=torch.device("cpu"), quiet=True)


def test_a_training_that_begins_again_is_not_taken_for_the_finished_one_before(uninterrupted: Path, tmp_path: Path) -> None:
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    again = commands.start(tmp_path / "logs", *command(run))
    again.wait_until((run / "checkpoints" / "last.pt").exists)
    again.signal(signal.SIGINT)
    assert again.wait().code != 0
    assert not (run / "training.json").exists()
    assert 0 < checkpoint.load(run / "checkpoints" / "last.pt")["step"] < STEPS, "it is saved"


def test_events_are_of_the_training_that_goes_on(tmp_path: Path) -> None:
    config = parsing.resolve(recipes.load("digits-plain").run, ["--epochs=0.1", "--validation.examples=2"]).config
    events = tmp_path / "run" / "tensorboard"
    events.mkdir(parents=True)
    (events / "events.out.tfevents.1.of-a-killed-one").touch()
    train(config, tmp_path / "run", device=torch.device("cpu"), quiet=True)
    assert not (events / "events.out.tfevents.1.of-a-killed-one").exists()
    assert list(events.iterdir())


def test_a_killed_run_resumes_to_the_same_weights(uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    last = run / "checkpoints" / "last.pt"
    killed = commands.start(tmp_path / "logs", *command(run))
    killed.wait_until(last.exists)
    killed.signal(signal.SIGKILL)
    assert killed.wait().code == -signal.SIGKILL, "it ended before it was killed"
    reached = checkpoint.load(last)["step"]
    assert 3 <= reached < STEPS
    assert not (run / "training.json").exists()
    assert main(command(run)) == 0
    same_training(run, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_resumes_to_the_same_weights(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    run, done = tmp_path / "run", threading.Event()
    handler = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background of a shell

    def interrupt() -> None:
        while not (run / "checkpoints" / "last.pt").exists() and not done.wait(0.002):
            pass
        if not done.is_set():
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        code = main(command(run))
    finally:
        done.set()
        thread.join()
    assert code == 130
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    step = checkpoint.load(run / "checkpoints" / "last.pt")["step"]
    assert f"stopped at step {step} of {STEPS}" in lines[0]
    assert step < STEPS
    assert signal.getsignal(signal.SIGINT) is handler
    assert main(command(run)) == 0
    same_training(run, uninterrupted)


def test_a_finished_run_is_left_alone(uninterrupted: Path) -> None:
    files = [path for path in uninterrupted.rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    before = {path: path.read_bytes() for path in files}
    modified = {path: path.stat().st_mtime_ns for path in files if path.suffix == ".pt"}
    assert main(command(uninterrupted)) == 0
    assert {path: path.read_bytes() for path in files} == before
    assert {path: path.stat().st_mtime_ns for path in modified} == modified


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--seed", "1", "seed"),
        ("--objective.weight", "0.75", "objective.init_args.weight"),
        ("--optimizer.lr", "1e-4", "optimizer.init_args.lr"),
    ],
)
def test_a_changed_setting_is_refused_by_name(
    uninterrupted: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, named: str
) -> None:
    before = (uninterrupted / "config.yaml").read_bytes()
    capsys.readouterr()
    assert main(command(uninterrupted, option, value)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert f"{named} = " in lines[0]
    assert str(float(value)).rstrip("0").rstrip(".") in lines[0] or value in lines[0]
    assert (uninterrupted / "config.yaml").read_bytes() == before


def test_settings_that_do_not_touch_the_weights_may_change(uninterrupted: Path) -> None:
    assert main(command(uninterrupted, "--checkpoint_every", "50", "--checkpoints_kept", "1")) == 0


def test_a_diverging_run_stops_before_the_weights_are_spoilt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    diverging = command(run, "--optimizer.lr", "1e30", "--checkpoint_every", "1")
    assert main(diverging) == 3
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    last = run / "checkpoints" / "last.pt"
    content, step = last.read_bytes(), checkpoint.load(last)["step"]
    assert f"step {step}:" in lines[0]
    assert "loss" in lines[0]
    assert str(last) in lines[0]
    assert main(diverging) == 3, "the same again"
    assert last.read_bytes() == content


def test_a_good_checkpoint_survives_a_later_divergence(uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(command(run, "--objective.weight", "1e39")) == 3  # times a float32 pairing: infinite
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "step 0" in lines[0]
    assert "total" in lines[0]
    assert "no checkpoint was written" in lines[0]
    assert not (run / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_a_damaged_checkpoint_is_refused_in_one_line(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_bytes((uninterrupted / "config.yaml").read_bytes())
    content = (uninterrupted / "checkpoints" / "last.pt").read_bytes()
    (run / "checkpoints" / "last.pt").write_bytes(content[:1000] if damage == "truncated" else b"hello")
    capsys.readouterr()
    for arguments in (command(run), ["evaluate", str(run)]):
        assert main(arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert "last.pt" in lines[0]


@pytest.mark.filterwarnings("default")
def test_training_leaves_the_way_to_evaluate(uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attacks = tmp_path / "attacks.yaml"
    attacks.write_text("weak: {class_path: logitpair.attacks.PGD, init_args: {threat: {eps: 8/255}, step_size: 0.02, steps: 2}}\n")
    options = ["--attacks", str(attacks), "--examples", "30", "--source", f"itself={uninterrupted}", "--device", "cpu", "--name", "mine"]
    assert main(["evaluate", str(uninterrupted), *options]) == 0
    evaluation = lp.Evaluation.load(uninterrupted / "evaluation" / "mine")
    assert evaluation.results["examples"] == 30
    assert evaluation.results["recipe"] == "digits-alp"
    assert list(evaluation.results["attacks"]) == ["weak"]
    assert evaluation.results["attacks"]["weak"]["parameters"]["init_args"]["threat"]["init_args"]["eps"] == 8 / 255
    assert "itself" in evaluation.results["black_box"]
    said = capsys.readouterr()
    assert "weak" in said.out
    assert "--source itself" in said.err
    assert "no black box" in said.err


@pytest.mark.parametrize("batch_size", ["0", "-1"])
def test_evaluate_refuses_a_batch_size_below_one(uninterrupted: Path, capsys: pytest.CaptureFixture[str], batch_size: str) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(uninterrupted), "--batch-size", batch_size, "--examples", "5", "--device", "cpu", "--name", "bad"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "batch" in lines[0]


def test_ensemble_training_reads_its_sources_from_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--epochs", "0.1", "--validation.examples", "10"]
    ensemble = ["train", "digits-ensemble", *small, "--out", "run"]
    assert main(ensemble) == 2, "its source is not trained yet"
    assert main(["train", "digits-plain", *small, "--out", "demo/digits-plain"]) == 0
    assert main(ensemble) == 0
    (tmp_path / "demo").rename(tmp_path / "elsewhere")
    assert lp.load(tmp_path / "run")(torch.rand(1, 1, 8, 8)).shape == (1, 10), "a trained run needs its sources no more"


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_is_moved_or_deleted_stops_and_no_half_of_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kept: bool
) -> None:
    def step_and_move(*arguments: Any) -> Any:
        measures = train_step(*arguments)
        if (run / "metrics.jsonl").exists():
            run.rename(tmp_path / "moved") if kept else shutil.rmtree(run)
        return measures

    run = tmp_path / "run"
    monkeypatch.setattr("logitpair.training.train.train_step", step_and_move)
    assert main(["train", "digits-plain", "--scale", "smoke", "--epochs", "0.2", "--checkpoint_every", "1", "--out", str(run)]) == 2
    assert f"--out: {run} was moved or deleted while it was being trained" in capsys.readouterr().err
    assert not run.exists()
