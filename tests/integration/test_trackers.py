"""Trackers' own libraries, offline: a training that is gone on with is one run there, with each step once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from handmade_results import EVALUATION
from msgspec.structs import replace

from logitpair.config import parsing, recipes
from logitpair.storage.results import Network
from logitpair.training.trackers import named, tell
from logitpair.training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # what these libraries warn of is theirs


def learn_in_two_parts(run: Path, name: str) -> list[int]:
    """Train to step 20 and on to step 38, with a new tracker each time, and tell of an evaluation; the steps of ``metrics.jsonl``."""
    run.mkdir()
    (run / "config.yaml").write_text("run: {objective: {weight: 0.5}}\n")
    begun = ""
    for steps in (20, 38):
        settings = [f"--epochs={steps / 19}", "--batch_size=64", "--model.width=4", "--validation.examples=20"]
        config = parsing.resolve(recipes.load("digits-plain").run, settings).config
        train(config, run, device=torch.device("cpu"), quiet=True, trackers=named([name]))
        now = json.loads((run / "trackers.json").read_text())[name]
        assert begun in ("", now)
        begun = now
    tell(named([name]), run, EVALUATION)
    assert json.loads((run / "trackers.json").read_text())[name] == begun
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) >= 2
    return steps


def test_mlflow_keeps_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(mlflow.MlflowClient, "__init__", _at(mlflow.MlflowClient.__init__, f"file://{tmp_path}/mlruns"))
    steps = learn_in_two_parts(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("logitpair").experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params == {"objective.weight": "0.5"}
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == steps
    assert "validation_white_box" in run.data.metrics
    assert run.data.metrics["test/white_box"] == EVALUATION.white_box.top1


def test_mlflow_takes_a_network_without_settings_by_what_its_results_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(mlflow.MlflowClient, "__init__", _at(mlflow.MlflowClient.__init__, f"file://{tmp_path}/mlruns"))
    (tmp_path / "net").mkdir()
    record = replace(EVALUATION, network=Network(name="timm:resnet18"))
    tell(named(["mlflow"]), tmp_path / "net", record)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("logitpair").experiment_id])
    assert run.data.params["network.name"] == "timm:resnet18"
    assert run.data.metrics["test/white_box"] == EVALUATION.white_box.top1


def _at(init: Any, uri: str) -> Any:
    return lambda self: init(self, tracking_uri=uri)


def test_weights_and_biases_writes_parts_of_one_run_into_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    learn_in_two_parts(tmp_path / "run", "wandb")
    identity = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
    parts = list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert len(parts) == 3
    *training, evaluation = (part / f"run-{identity}.wandb" for part in sorted(parts))
    for part in training:
        content = part.read_bytes()
        assert b"validation_white_box" in content
        assert b"objective" in content
    assert b"test/white_box" in evaluation.read_bytes()


def test_trackio_keeps_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio = pytest.importorskip("trackio")
    storage = pytest.importorskip("trackio.sqlite_storage")
    monkeypatch.setattr(storage, "TRACKIO_DIR", tmp_path / "trackio")
    steps = learn_in_two_parts(tmp_path / "run", "trackio")
    name = json.loads((tmp_path / "run" / "trackers.json").read_text())["trackio"]
    (run,) = trackio.Api().runs("logitpair")
    assert run.name == name
    *training, evaluation = storage.SQLiteStorage.get_logs("logitpair", name)
    assert [row["step"] for row in training] == steps
    assert evaluation["test/white_box"] == EVALUATION.white_box.top1
