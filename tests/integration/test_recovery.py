"""Training that overfits to its attack goes back by itself: killed or not, on one process or several."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import commands
import pytest
import torch

from logitpair.cli.main import main
from logitpair.storage import checkpoint

PGD = {"class_path": "logitpair.attacks.PGD", "init_args": {"threat": {"eps": 0.1}, "step_size": 0.05, "steps": 2}}
MISLEADING = {"class_path": "misleading.Misleading", "init_args": {"threat": {"eps": 1.0}}}
STEPS = 152  # 8 epochs of 19, of which the first three train by PGD, and the attack misleads from then on
OPTIONS = [
    *("--objective", "logitpair.objectives.AdversarialTraining", "--objective.clean_weight=0"),
    *("--objective.attack", json.dumps(MISLEADING), "--objective.warmup=3", "--validation.recovery", json.dumps([MISLEADING, PGD])),
    *("--validation.attack.threat.eps=0.1", "--validation.attack.steps=2", "--validation.examples=50", "--validation.every=1"),
    *("--epochs=8", "--model.width=4", "--optimizer.lr=1e-2", "--ema=0.9", "--checkpoint_every=7", "--schedule.warmup=0"),
    *("--device=cpu", "--precision=float32"),
]


def command(out: Path) -> list[str]:
    return ["train", "digits-alp", "--out", str(out), *OPTIONS]


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def validated(run: Path) -> list[dict[str, float]]:
    return [
        {name: value for name, value in line.items() if name in ("step", "lr") or name.startswith("validation")}
        for line in metrics(run)
        if "validation_white_box" in line
    ]


def state(run: Path) -> dict[str, Any]:
    return checkpoint.load(run / "checkpoints" / "last.pt")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    assert main(command(run)) == 0
    return run


def test_it_goes_back_as_often_as_there_are_attacks_and_learns_by_the_last(unbroken: Path) -> None:
    lines = validated(unbroken)
    back = [line for line in lines if "validation_back_to_step" in line]
    for line in back:
        assert line["validation_collapsed"] < line["validation_white_box"] / 2
    assert len(back) == 2
    assert lines[-1]["validation_white_box"] > 0.5
    recoveries = json.loads((unbroken / "training.json").read_text())["recoveries"]
    assert [each["attack"]["class_path"] for each in recoveries] == ["misleading.Misleading", "logitpair.attacks.PGD"]
    assert [(each["step"], each["back_to_step"]) for each in recoveries] == [
        (line["step"], line["validation_back_to_step"]) for line in back
    ]
    steps = [line["step"] for line in metrics(unbroken)]
    assert steps == sorted(set(steps)), "steps went back"
    assert state(unbroken)["step"] == STEPS


def test_killed_before_and_after_it_goes_back_it_ends_with_the_same_weights(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    last = run / "checkpoints" / "last.pt"
    for number, reached in enumerate((lambda: last.exists(), lambda: state(run)["recoveries"])):
        killed = commands.start(tmp_path / f"logs-{number}", *command(run))
        killed.wait_until(reached)
        killed.signal(signal.SIGKILL)
        assert killed.wait().code == -signal.SIGKILL, "it ended before it was killed"
    assert main(command(run)) == 0
    for part in ("model", "ema"):
        assert all(torch.equal(value, state(unbroken)[part][name]) for name, value in state(run)[part].items())
    assert validated(run) == validated(unbroken)
    assert state(run)["recoveries"] == state(unbroken)["recoveries"]


def test_two_processes_go_back_together(unbroken: Path, tmp_path: Path) -> None:
    done = commands.run(tmp_path / "logs", *command(tmp_path / "run"), processes=2)
    assert done.codes == [0, 0], done.stderr
    assert state(tmp_path / "run")["recoveries"] == state(unbroken)["recoveries"]
    for name, value in state(tmp_path / "run")["model"].items():
        assert torch.allclose(value, state(unbroken)["model"][name], atol=1e-2), name
