"""Trackers: what they are told and when, that none stops a training, and which the command line knows."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from command_line import failing
from handmade_results import AUDIT
from handmade_runs import in_turn
from msgspec.structs import replace

from logitpair import InputError
from logitpair.cli.main import main
from logitpair.config import parsing, recipes
from logitpair.runtime.distributed import World
from logitpair.storage import checkpoint
from logitpair.storage.result_files import read_record
from logitpair.storage.results import AuditResults, EvaluationResults, Network
from logitpair.training.metrics import RunLog
from logitpair.training.process_team import ProcessTeam
from logitpair.training.trackers import TRACKERS, named, tell
from logitpair.training.train import train
from logitpair.training.train_state import initial_state

SMALL = ["--epochs=2", "--batch_size=64", "--model.width=4", "--validation.examples=20", "--checkpoint_every=10", "--precision=float32"]
STEPS = 38


class Recorder:
    """Writes down what it is told, and raises where its name is that of a method."""

    def __init__(self, name: str = "recorder") -> None:
        self.name, self.told = name, list[tuple[Any, ...]]()

    def _note(self, what: str, *told: Any) -> None:
        if what == self.name:
            raise ConnectionError(f"no way to {what}")
        self.told.append((what, *told))

    def start(self, run: Path, config: Mapping[str, Any], begun: str | None) -> str:
        self._note("start", run.name, config.get("batch_size"), begun)
        self.settings = config
        return begun or "abc"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._note("log", step, dict(metrics))

    def summarize(self, metrics: Mapping[str, float]) -> None:
        self._note("summarize", dict(metrics))

    def end(self, finished: bool) -> None:
        self._note("end", finished)

    def steps(self) -> list[int]:
        return [step for what, step, *_ in self.told if what == "log"]


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def learn(run: Path, *trackers: Any, steps: int = STEPS) -> None:
    config = parsing.resolve(recipes.load("digits-plain").run, [*SMALL[1:], f"--epochs={2 * steps / STEPS}"]).config
    train(config, run, device=torch.device("cpu"), quiet=True, trackers=trackers)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    """A run with its tracker, which the settings in ``config.yaml`` belong to."""
    run, recorder = tmp_path_factory.mktemp("tracked") / "run", Recorder()
    run.mkdir()
    (run / "config.yaml").write_text("run: {batch_size: 64}\n")
    learn(run, recorder)
    return run, recorder


def test_a_tracker_is_told_what_metrics_jsonl_holds(tracked: tuple[Path, Recorder]) -> None:
    run, recorder = tracked
    assert recorder.told[0] == ("start", "run", 64, None)
    assert recorder.told[-1] == ("end", True)
    written = [("log", line.pop("step"), {name: value for name, value in line.items() if name != "epoch"}) for line in lines(run)]
    assert recorder.told[1:-1] == written
    assert "validation_white_box" in written[-1][2]
    assert json.loads((run / "trackers.json").read_text()) == {"recorder": "abc"}


def test_a_finished_run_is_not_tracked_again(tracked: tuple[Path, Recorder]) -> None:
    again = Recorder()
    learn(tracked[0], again)
    assert again.told == []


def test_a_killed_run_goes_on_as_the_same_and_no_step_is_told_twice(tmp_path: Path) -> None:
    before, after = Recorder(), Recorder()
    learn(tmp_path, before, steps=20)  # so that a longer training is one that was killed with a checkpoint of step 20 ...
    with (tmp_path / "metrics.jsonl").open("a") as file:  # ... after it had told of step 30
        file.write('{"step": 30, "epoch": 1.5, "loss": 1.0}\n')
    learn(tmp_path, after)
    assert after.told[0] == ("start", tmp_path.name, None, "abc")
    assert after.steps() == [38]
    assert [line["step"] for line in lines(tmp_path)] == sorted({*before.steps(), 30, 38}), "written again, and not told again"


def test_without_a_checkpoint_a_run_is_tracked_as_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "trackers.json").write_text('{"recorder": "of a mistaken first try"}')
    recorder = Recorder()
    learn(tmp_path, recorder, steps=5)
    assert recorder.told[0][-1] is None


@pytest.mark.parametrize("name", ["log", "end"])
def test_a_tracker_that_fails_is_warned_of_once_and_training_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    failing, other = Recorder(name), Recorder()
    learn(tmp_path, failing, other)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"--tracker: {name} raised ConnectionError: no way to {name}; all goes on without it" in warning
    assert (tmp_path / "training.json").exists()
    assert other.steps() == [line["step"] for line in lines(tmp_path)]


def test_a_tracker_that_cannot_begin_is_refused_for_a_new_run_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = Recorder()
    with pytest.raises(InputError, match="^--tracker: start raised ConnectionError: no way to start$"):
        learn(tmp_path, other, Recorder("start"))
    assert other.told[-1] == ("end", False), "what has begun is ended"
    assert not (tmp_path / "checkpoints").exists()
    learn(tmp_path, steps=20)
    learn(tmp_path, Recorder("start"))
    assert "no way to start; all goes on without it" in caplog.text
    assert checkpoint.load(tmp_path / "checkpoints" / "last.pt")["step"] == STEPS


def test_a_tracker_that_never_began_leaves_no_record_of_it(tmp_path: Path) -> None:
    tell([Recorder("start")], tmp_path, in_turn(black_box={}))
    assert not (tmp_path / "trackers.json").exists()
    tell([Recorder("start"), Recorder()], tmp_path, in_turn(black_box={}))
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"recorder": "abc"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"recorder": 3}', b'{"recorder": "\xff"}'])
def test_a_damaged_record_of_trackers_is_warned_of_and_all_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "trackers.json").write_bytes(content)
    recorder = Recorder()
    tell([recorder], tmp_path, in_turn(black_box={}))
    assert recorder.told[0][-1] is None, "as a new run"
    assert "trackers.json' is damaged" in caplog.text


def test_only_the_process_that_writes_files_tells_trackers(tmp_path: Path) -> None:
    recorder = Recorder()
    cpu = torch.device("cpu")
    state = initial_state(parsing.resolve(recipes.load("digits-plain").run, SMALL).config, cpu, resuming=False)
    state.step = 1
    team = ProcessTeam(World(rank=1, size=2, device=cpu), state)
    with RunLog(tmp_path, team, 1, 1, False, [recorder]) as log:
        log.add({}, 1)
        log._window.steps = 0  # the means over them need the other process
        log.write({"validation_clean": 0.5})
    assert recorder.told == []
    assert list(tmp_path.iterdir()) == []


def test_evaluations_and_audits_are_told_as_the_run_that_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Recorder] = []

    def recorder(name: str) -> Recorder:
        told.append(Recorder(name))
        return told[-1]

    monkeypatch.setattr("logitpair.training.trackers.TRACKERS", {name: partial(recorder, name) for name in ("a", "summarize")})
    run = tmp_path / "run"
    assert main(["train", "digits-plain", "--scale", "smoke", "--epochs", "0.2", "--tracker", "a", "--out", str(run)]) == 0
    (run / "trackers.json").write_text('{"a": "k3y"}')
    attacked = ["--attacks", "pgd_51_12.75_2", "--examples", "10"]
    assert main(["evaluate", str(run), *attacked, "--name", "few", "--tracker", "a"]) == 0
    assert main(["audit", str(run), *attacked, "--budget", "5", "--tracker", "a,summarize"]) == 0
    _trained, evaluated, audited, _failing = told
    for recorded in (evaluated, audited):
        assert recorded.told[0] == ("start", "run", 64, "k3y")
        assert recorded.told[2:] == [("end", True)]
    evaluation = read_record(run / "evaluation" / "few" / "results.json", EvaluationResults, "")
    white_box = evaluation.white_box.top1
    accuracies = {"few/clean": evaluation.clean.top1, "few/white_box": white_box, "few/attacks/pgd_51_12.75_2": white_box}
    assert evaluated.told[1] == ("summarize", accuracies)
    audit = read_record(run / "audit" / "results.json", AuditResults, "")
    numbers = {"clean": audit.clean, "reference": audit.reference, "robust_accuracy": audit.robust_accuracy}
    assert audited.told[1] == ("summarize", {f"audit/{name}": number.top1 for name, number in numbers.items()})
    assert "--tracker: summarize raised ConnectionError: no way to summarize; all goes on without it" in caplog.text


def test_of_attacks_in_turn_trackers_are_told_what_they_leave_together(tmp_path: Path) -> None:
    recorder = Recorder()
    tell([recorder], tmp_path, in_turn(black_box={}))
    assert recorder.told[1] == ("summarize", {"test/clean": 0.965, "test/white_box_union": 0.45})


def test_of_a_network_without_a_run_trackers_are_told_what_was_measured(tmp_path: Path) -> None:
    recorder = Recorder()
    tell([recorder], tmp_path, replace(AUDIT, network=Network(name="timm:resnet18")))
    assert (recorder.settings["network"], recorder.settings["examples"]) == ({"name": "timm:resnet18"}, AUDIT.examples)
    assert recorder.settings["threat"] == AUDIT.threat
    assert "robust_accuracy" not in recorder.settings


@pytest.mark.parametrize("name", TRACKERS)
def test_a_library_that_is_missing_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    line = failing(capsys, "train", "digits-plain", "--tracker", name, "--out", str(tmp_path / "run"))
    assert f"--tracker {name} needs {name}" in line
    assert line.endswith(f"pip install 'logitpair[{name}]'")
    monkeypatch.setitem(sys.modules, name, ModuleType(name))  # which a folder of that name is
    assert "not installed" in failing(capsys, "train", "digits-plain", "--tracker", name, "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert "not installed" in failing(capsys, "evaluate", str(tmp_path / "run"), "--tracker", name)


def test_names_come_one_by_one_or_with_commas_and_only_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logitpair.training.trackers.TRACKERS", {name: lambda name=name: Recorder(name) for name in "abc"})
    assert [tracker.name for tracker in named(["b,c", "a", "b"])] == ["b", "c", "a"]
    for text in ("d", "a,", ""):
        with pytest.raises(InputError, match="^--tracker: .* accepted: a, b, c$"):
            named([text])
    with pytest.raises(InputError, match="^--tracker: 'tensorboard' is none; .* are in RUN/tensorboard without it$"):
        named(["tensorboard"])


def test_weights_and_biases_gets_its_own_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    class Run:
        id = "k3y"

        def log(self, metrics: dict[str, float], step: int) -> None:
            calls.append(("log", sorted(metrics), step))

        def finish(self, exit_code: int) -> None:
            calls.append(("finish", exit_code))

    def init(**options: Any) -> Run:
        calls.append(("init", options["id"], options["name"], options["resume"], options["config"]["batch_size"], options["dir"]))
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    run = tmp_path / "run"
    command = ["train", "digits-plain", "--scale", "smoke", "--epochs", "0.5", "--tracker", "wandb", "--out", str(run)]
    assert main(command) == 0
    steps = [line["step"] for line in lines(run)]
    assert calls[0] == ("init", None, "run", "allow", 64, run)
    assert [call[2] for call in calls[1:-1]] == steps
    assert calls[-1] == ("finish", 0)
    assert json.loads((run / "trackers.json").read_text()) == {"wandb": "k3y"}
