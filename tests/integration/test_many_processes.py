"""How many processes train does not matter: not to the loss, not to the weights, and not where a run goes on."""

from __future__ import annotations

import json
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import commands
import pytest
import torch
from many_processes import EXAMPLES, RecordedDigits, blocks, command, learn, precise, together, together_codes
from torch import Tensor, nn
from torch.distributed import run as torchrun

import logitpair as lp
from logitpair.rng import RandomSource
from logitpair.storage import checkpoint


def state(run: Path) -> dict[str, Any]:
    return checkpoint.load(run / "checkpoints" / "last.pt")


def same_weights(run: Path, other: Path, tolerance: float = 1e-9) -> None:
    found, expected = state(run), state(other)
    assert found["step"] == expected["step"]
    for name, value in expected["model"].items():
        torch.testing.assert_close(
            found["model"][name], value, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def curve(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone")
    learn(run, None, {})
    return run


def test_one_process_changes_the_weights(alone: Path) -> None:
    torch.manual_seed(0)
    initial, weights = precise().state_dict(), state(alone)["model"]
    moved = max((weights[name] - initial[name]).abs().max().item() for name in weights)
    assert moved > 1e-2, "so small a change would make all runs alike"
    assert len(curve(alone)) == 8


@pytest.mark.parametrize("processes", [2, 4])
def test_the_loss_curve_is_that_of_one_process(alone: Path, tmp_path: Path, processes: int) -> None:
    together(learn, processes, tmp_path, None, {})
    for found, expected in zip(curve(tmp_path), curve(alone), strict=True):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    same_weights(tmp_path, alone)
    assert not (tmp_path / "validation").exists(), "what the processes shared of a validation is left behind"


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 3), (2, 4)])
def test_micro_batches_give_the_gradient_of_the_whole(alone: Path, tmp_path: Path, processes: int, accumulate: int) -> None:
    together(learn, processes, tmp_path, None, {"accumulate": accumulate})
    for found, expected in zip(curve(tmp_path), curve(alone), strict=True):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    same_weights(tmp_path, alone)


def test_a_small_last_batch_makes_fewer_micro_batches(tmp_path: Path) -> None:
    sizes: list[int] = []

    @dataclass(frozen=True, kw_only=True)
    class Sized(lp.objectives.StandardTraining):
        def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: RandomSource | None) -> lp.objectives.LossTerms:
            sizes.append(len(y))
            return super().loss(model, x, y, generator)

    learn(tmp_path, None, {"objective": Sized(), "accumulate": 4, "epochs": 1})
    assert sizes == [4] * 13, "BatchNorm would see single images in the last batch of 4"


def test_micro_batches_more_than_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(lp.InputError, match="accumulate: 17 .* at most 16"):
        learn(tmp_path, None, {"accumulate": 17})


def test_a_run_goes_on_with_other_numbers_of_processes(alone: Path, tmp_path: Path) -> None:
    counts = []
    for processes, stop_at in ((4, 6), (2, 12), (1, None)):  # stopped in the first epoch, and in the second
        codes = together_codes(learn, processes, tmp_path, stop_at, {})
        assert codes == [0] * processes
        counts.append(state(tmp_path)["step"])
    assert counts == [2, 5, 8]
    given = Counter(int(index) for file in tmp_path.glob("rank-*.txt") for index in file.read_text().split())
    assert given == dict.fromkeys(range(EXAMPLES), 2), "an example was lost or repeated"
    same_weights(tmp_path, alone)


def test_a_run_whose_four_processes_are_killed_goes_on_with_two(alone: Path, tmp_path: Path) -> None:
    data = RecordedDigits(tmp_path, stop_at=13, by=signal.SIGKILL)  # in the fourth step: 16 images over 4 processes, three times
    codes = together_codes(learn, 4, tmp_path, None, {"data": data, "checkpoint_every": 2})
    assert codes == [-signal.SIGKILL] * 4
    assert state(tmp_path)["step"] == 2
    records = list(tmp_path.glob("rank-*.txt"))
    kept = [int(index) for file in records for index in file.read_text().split()[:8]]  # of the two steps before the checkpoint
    assert all(len(file.read_text().split()) == 13 for file in records)
    for file in records:
        file.unlink()
    together(learn, 2, tmp_path, None, {"checkpoint_every": 2})
    again = [int(index) for file in tmp_path.glob("rank-*.txt") for index in file.read_text().split()]
    assert Counter([*kept, *again]) == dict.fromkeys(range(EXAMPLES), 2), "an example was lost or repeated"
    same_weights(tmp_path, alone)


def test_a_run_goes_on_with_other_micro_batches(alone: Path, tmp_path: Path) -> None:
    learn(tmp_path, 20, {"accumulate": 4})
    assert state(tmp_path)["step"] == 2
    learn(tmp_path, None, {"accumulate": 1})
    same_weights(tmp_path, alone)


def test_torchrun_restarts_after_a_kill_and_the_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    killed, broken, whole = tmp_path / "killed", tmp_path / "broken", tmp_path / "whole"
    options = ["train", "digits-noise", "--model", "fragile.Fragile", "--model.killed", str(killed)]
    options += ["--epochs", "0.5", "--checkpoint_every", "3", "--validation.examples", "10", "--validation.attack.steps", "1"]
    script = tmp_path / "train.py"
    script.write_text("import sys\nfrom many_processes import command\ncommand(sys.argv[1:])\n")
    launch = ["--standalone", "--nproc-per-node=2", "--max-restarts=1", "--start-method=fork", "--run-path", str(script)]
    done = commands.call(tmp_path, torchrun.main, [*launch, *options, "--out", str(broken)]).wait()
    assert done.code == 0, done.stderr
    assert killed.exists(), "no process was killed"
    assert "Resuming at step 6 of" in done.stdout
    together(command, 2, [*options, "--out", str(whole)])
    found, expected = state(broken), state(whole)
    assert found["step"] == expected["step"] > 7
    assert all(torch.equal(found["model"][name], value) for name, value in expected["model"].items())


def test_nothing_is_said_of_the_layout_of_gradients(tmp_path: Path) -> None:
    options = ["--epochs", "0.05", "--validation.examples", "10", "--validation.attack.steps", "1"]
    done = commands.run(tmp_path, "train", "digits-certified-alp", *options, "--out", str(tmp_path / "run"), processes=2)
    assert done.code == 0, done.stderr
    assert "strides" not in done.stderr


def test_a_compiled_network_is_trained_and_saved_as_itself(alone: Path, tmp_path: Path) -> None:
    with torch.compiler.set_stance("force_eager"):  # what the compiler makes of it is not the question here
        learn(tmp_path, None, {"compile": True})
    assert state(tmp_path)["model"].keys() == state(alone)["model"].keys()
    same_weights(tmp_path, alone)


def test_activation_checkpointing_trains_the_same_on_several_processes(tmp_path: Path) -> None:
    changes = {"model": blocks, "ema": 0.9, "accumulate": 2, "epochs": 1}
    together(learn, 2, tmp_path / "kept", None, changes)
    together(learn, 2, tmp_path / "again", None, changes | {"activation_checkpointing": True})
    found, expected = state(tmp_path / "again"), state(tmp_path / "kept")
    for part in ("model", "ema"):
        assert found[part].keys() == expected[part].keys()
        assert all(torch.equal(found[part][name], value) for name, value in expected[part].items()), part
    assert expected["model"]["1.0.1.running_mean"].abs().max() > 0


def test_compile_and_activation_checkpointing_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(lp.InputError, match="activation_checkpointing is True beside compile"):
        learn(tmp_path, None, {"compile": True, "activation_checkpointing": True})
