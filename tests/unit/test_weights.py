"""Weights from files and runs, and fine-tuning that begins with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import logitpair as lp
from logitpair import InputError, checkpoint, weights
from logitpair.cli import main
from logitpair.config import FineTuning
from logitpair.state import fine_tune

TRAIN = ["train", "digits-plain", "--epochs", "0.2", "--validation.examples", "10"]


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_kind_of_file_gives_the_same_weights(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save(state, tmp_path / "bare.pt")
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "nested.pth")
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "parallel.pt")
    checkpoint.save(tmp_path / "run" / "checkpoints", {"model": state}, step=1, keep=1)
    for path in ("bare.pt", "weights.safetensors", "nested.pth", "parallel.pt", "run", "run/checkpoints/last.pt"):
        assert same(weights.read(tmp_path / path), state), path


def test_a_run_gives_its_moving_average(tmp_path: Path) -> None:
    raw, average = network(0).state_dict(), network(1).state_dict()
    ema = {f"module.{name}": value for name, value in average.items()} | {"n_averaged": torch.tensor(7)}
    checkpoint.save(tmp_path / "checkpoints", {"model": raw, "ema": ema}, step=1, keep=1)
    assert same(weights.read(tmp_path), average)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no file"),
        (b"junk", "is truncated or no file of weights"),
        ({"note": "nothing"}, "holds no named tensors"),
        ({}, "holds no named tensors"),
    ],
)
def test_files_without_weights_are_refused(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=said):
        weights.read(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(InputError, match=r"holds more than weights; save model\.state_dict\(\)"):
        weights.read(tmp_path / "whole.pt")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    for name, save in (("a.pt", torch.save), ("a.safetensors", safetensors.torch.save_file)):
        save(network().state_dict(), tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-40])
        with pytest.raises(InputError, match="is truncated or no file of weights"):
            weights.read(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("2.bias"), "has no '2.bias'"),
        (lambda state: state.update({"3.bias": torch.ones(2)}), "the model has no '3.bias'"),
        (lambda state: state.update({"2.bias": torch.ones(5)}), r"'2.bias' is \[5\] .* and \[2\] in the model"),
        (lambda state: state["2.bias"].fill_(float("nan")), "'2.bias' .* is not finite"),
    ],
    ids=["missing", "left_over", "shape", "nan"],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(change, said: str) -> None:
    state = network(1).state_dict()
    change(state)
    model = network(0)
    with pytest.raises(InputError, match=said):
        weights.put(model, state, Path("weights.pt"))
    assert same(model.state_dict(), network(0).state_dict())


def test_fine_tuning_keeps_fresh_layers_and_freezes_the_rest(tmp_path: Path) -> None:
    torch.save(network(1).state_dict() | {"2.weight": torch.ones(7, 4), "2.bias": torch.ones(7)}, tmp_path / "w.pt")  # other classes
    model = network(0)
    fine_tune(model, FineTuning(weights=tmp_path / "w.pt", trainable=("1", "2"), fresh=("2",)), resuming=False)
    state, old, given = model.state_dict(), network(0).state_dict(), network(1).state_dict()
    assert torch.equal(state["2.weight"], old["2.weight"])
    assert torch.equal(state["0.weight"], given["0.weight"])
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["1.weight", "1.bias", "2.weight", "2.bias"]


def test_a_prefix_that_fits_no_parameter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no parameter's name begins with 'head'; the model has 0.weight"):
        fine_tune(network(), FineTuning(weights=tmp_path, trainable=("head",)), resuming=True)


def test_a_run_fine_tunes_another_with_chosen_layers_and_resumes_without_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main([*TRAIN, "--out", str(first)]) == 0
    tune = [*TRAIN, "--objective", "AdversarialLogitPairing", "--objective.attack", "logitpair.attacks.PGD"]
    tune += ["--objective.attack.threat.eps", "0.1", "--objective.attack.step_size", "0.1", "--objective.attack.steps", "1"]
    tune += ["--fine_tuning.weights", str(first), "--fine_tuning.trainable", '["logits"]', "--out", str(second)]
    assert main(tune) == 0
    before, after = weights.read(first), weights.read(second)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"logits.weight", "logits.bias"}
    first.rename(tmp_path / "elsewhere")
    assert main(tune) == 0, "a finished or interrupted run needs its origin no more"
    assert lp.load(second)(torch.rand(1, 1, 8, 8)).shape == (1, 10)
