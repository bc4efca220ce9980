"""Several processes: the same training as one, on real processes that talk by gloo."""

from __future__ import annotations

from pathlib import Path

import commands
import torch

from logitpair.cli.main import main
from logitpair.storage import checkpoint

OPTIONS = ["--epochs", "0.1", "--batch_size", "4", "--checkpoint_every", "4", "--validation.examples", "10"]
OPTIONS += ["--precision", "float32", "--schedule", "logitpair.optim.Constant", "--optimizer", "torch.optim.SGD", "--optimizer.lr", "0.05"]


def train(out: Path, processes: int, *options: str, cwd: Path | None = None) -> commands.Done:
    logs = out.with_name(f"{out.name}-logs")
    return commands.run(logs, "train", "digits-plain", "--out", str(out), *OPTIONS, *options, processes=processes, cwd=cwd)


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return checkpoint.load(run / "checkpoints" / f"{name}.pt")["model"]


def test_three_processes_train_as_one_does(tmp_path: Path) -> None:
    # 4 images over three processes are unequal shares (2, 1, 1): only gradients of the global mean give the same weights
    together = train(tmp_path / "three", 3)
    assert together.code == 0, together.stderr
    assert main(["train", "digits-plain", "--out", str(tmp_path / "one"), *OPTIONS]) == 0
    three, one = weights(tmp_path / "three"), weights(tmp_path / "one")
    for name, value in one.items():
        torch.testing.assert_close(three[name], value, rtol=1e-4, atol=1e-5)
    initial = weights_at_start(tmp_path)
    moved = max((one[name] - initial[name]).abs().max().item() for name in one)
    assert moved > 1e-2, "nothing was learned, so the comparison says nothing"


def weights_at_start(tmp_path: Path) -> dict[str, torch.Tensor]:
    options = [*OPTIONS, "--epochs", "0.001", "--optimizer.lr", "0"]
    assert main(["train", "digits-plain", "--out", str(tmp_path / "start"), *options]) == 0
    return weights(tmp_path / "start")


def test_a_batch_too_small_for_the_processes_is_refused(tmp_path: Path) -> None:
    done = train(tmp_path / "run", 2, "--batch_size", "1")
    assert done.code not in (0, None)
    assert "batch_size: 1 makes a batch of 1 images, too few for 2 processes" in done.stderr


def test_with_batch_norm_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    (tmp_path / "networks.py").write_text(
        "from torch import nn\n"
        "class BatchNormNet(nn.Sequential):\n"
        "    def __init__(self, classes: int = 10):\n"
        "        super().__init__(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, classes))\n"
    )
    options = ["--model", "networks.BatchNormNet", "--checkpoints_kept", "9"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = train(whole, 2, *options, cwd=tmp_path)
    assert done.code == 0, done.stderr
    # what a kill after step 4 leaves: its checkpoint, and metrics that may have gone on
    (parts / "checkpoints").mkdir(parents=True)
    (parts / "config.yaml").write_bytes((whole / "config.yaml").read_bytes())
    (parts / "checkpoints" / "last.pt").write_bytes((whole / "checkpoints" / "step-000000004.pt").read_bytes())
    again = train(parts, 2, *options, cwd=tmp_path)
    assert again.code == 0, again.stderr
    first, second = weights(whole), weights(parts)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["1.running_mean"].abs().max() > 0


def test_every_defense_learns_the_mean_of_the_processes_gradients(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "helpers" / "processes" / "gradients.py"
    done = commands.call(tmp_path / "logs", commands.script, script, str(tmp_path), processes=2).wait()
    assert done.code == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert len(first) > 25
    for name in first:
        for together, other, one, two in zip(
            first[name]["together"], second[name]["together"], first[name]["alone"], second[name]["alone"], strict=True
        ):
            torch.testing.assert_close(together, (one + two) / 2, msg=lambda text, name=name: f"{name}: {text}")
            assert torch.equal(together, other), name
            assert not torch.equal(one, two), f"{name}: both processes saw the same, so the mean says nothing"
