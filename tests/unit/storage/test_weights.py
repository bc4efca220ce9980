"""Weights from files and runs, and fine-tuning that begins with them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import logitpair as lp
from logitpair import InputError
from logitpair.cli.main import main
from logitpair.config.run_config import FineTuning
from logitpair.storage import checkpoint
from logitpair.storage.weights import load_weights, read_weights
from logitpair.training.train_state import fine_tune

TRAIN = ["train", "digits-plain", "--epochs", "0.2", "--validation.examples", "10"]


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_kind_of_file_gives_the_same_weights(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save(state, tmp_path / "state.pt")
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "nested.pth")
    safetensors.torch.save_file(state, tmp_path / "pytorch_model.bin")
    torch.save(state, tmp_path / "by-torch.safetensors")
    for key in ("net", "weights", "params", "model_state", "model_state_dict", "generator"):
        torch.save({key: state, "epoch": 3}, tmp_path / f"{key}.pt")
    torch.save({"net": {"epoch": 3, "state_dict": state}}, tmp_path / "twice.pt")
    checkpoint.save(tmp_path / "run" / "checkpoints", {"model": state}, step=1, keep=1)
    for path in ("run", *(str(path) for path in tmp_path.rglob("*") if path.is_file())):
        assert same(read_weights(tmp_path / path), state), path


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "_fsdp_wrapped_module.", "network.model.", "model."]
)
def test_prefixes_of_wrappers_are_taken_off_where_they_are_not_the_network_s_own(prefix: str) -> None:
    given = network(1).state_dict()
    model = network(0)
    load_weights(model, {f"{prefix}{name}": value for name, value in given.items()}, Path("w.pt"))
    assert same(model.state_dict(), given)


def test_wrappers_of_single_layers_and_averages_are_taken_off() -> None:
    given, model = network(1), network(0)
    state = given.state_dict()
    wrapped = {name.replace("0.", "0._orig_mod.").replace("2.", "2._checkpoint_wrapped_module."): value for name, value in state.items()}
    for weights in (wrapped, torch.optim.swa_utils.AveragedModel(given).state_dict()):
        load_weights(model, weights, Path("w.pt"))
        assert same(model.state_dict(), state)
        model = network(0)
    compiled = nn.Sequential(torch.compile(nn.Linear(3, 4)))  # whose own names hold the wrapper
    load_weights(compiled, compiled.state_dict(), Path("w.pt"))


def test_weights_of_eight_bits_are_read() -> None:
    state, model = network(1).state_dict(), network(0)
    eight = {name: value.to(torch.float8_e4m3fn) if value.is_floating_point() else value for name, value in state.items()}
    load_weights(model, eight, Path("weights.safetensors"))
    assert same(model.state_dict(), {name: value.to(state[name].dtype) for name, value in eight.items()})


def test_a_network_whose_layers_wait_for_their_sizes_takes_weights() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.LazyLinear(2))
    load_weights(model, network(1).state_dict(), Path("w.pt"))
    assert same(model.state_dict(), network(1).state_dict())


@pytest.mark.parametrize("average", [False, True])
def test_a_network_whose_only_child_is_called_module_keeps_its_names(tmp_path: Path, average: bool) -> None:
    class Wrapper(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.module = network(seed)

    given, model = Wrapper(1), Wrapper(0)
    state = {"model": given.state_dict()}
    if average:
        state["ema"] = torch.optim.swa_utils.AveragedModel(given).state_dict()
    checkpoint.save(tmp_path / "checkpoints", state, step=1, keep=1)
    load_weights(model, read_weights(tmp_path), tmp_path)
    assert same(model.state_dict(), given.state_dict())


def test_counts_of_batches_may_be_missing() -> None:
    given, model = network(1).state_dict(), network(0)
    del given["1.num_batches_tracked"]
    load_weights(model, given, Path("w.pt"))
    assert same(model.state_dict(), network(1).state_dict())


def test_a_run_gives_its_moving_average(tmp_path: Path) -> None:
    raw, average = network(0).state_dict(), network(1).state_dict()
    ema = {f"module.{name}": value for name, value in average.items()} | {"n_averaged": torch.tensor(7)}
    checkpoint.save(tmp_path / "checkpoints", {"model": raw, "ema": ema}, step=1, keep=1)
    assert same(read_weights(tmp_path), average)


@pytest.mark.parametrize("ema", [{}, {"ema": {"module.weight": torch.ones(2), "n_averaged": torch.tensor(1)}}])
def test_a_checkpoint_of_another_format_is_refused_before_its_average_is_lost(tmp_path: Path, ema: dict) -> None:
    torch.save({"format": 2, "step": 5, "model": {"weight": torch.zeros(2)}, **ema}, tmp_path / "later.pt")
    with pytest.raises(InputError, match=r"later.pt' is a checkpoint of format 2; this version reads 1"):
        read_weights(tmp_path / "later.pt")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no file"),
        (b"junk\x80", "is truncated or no file of weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", r"is a Git LFS pointer, .* \(git lfs pull fetches it\)"),
        (b"\n<!DOCTYPE html>\n<html><head>", "is text, as a web page or a message of a server is, not the file that was asked for"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><Error>', "is text, as a web page"),
        (b'{"error": "nicht verf\xc3\xbcgbar"}', "is text, as a web page"),
        (b"404: Not Found", "is text, as a web page"),
        (b"", "is truncated or no file of weights"),
        ({"teacher": {"a": torch.ones(1)}, "student": {"a": torch.ones(1)}}, "holds named tensors under 'teacher' and under 'student';"),
        ({"note": "nothing"}, "holds no named tensors"),
        ({"a": torch.ones(1), "_extra_state": {"scale": 2}}, "holds named tensors and beside them '_extra_state', which is none"),
        ({}, "holds no named tensors"),
    ],
)
def test_files_without_weights_are_refused(tmp_path: Path, content: object, reason: str) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=reason):
        read_weights(path)


@pytest.mark.parametrize("length", [0x3C, 0x7B, 0x3C20, 0x7B0A])  # "<", "{", and after white space
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_a_length_of_safetensors_that_reads_as_text_is_no_web_page(tmp_path: Path, length: int, name: str) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    (tmp_path / name).write_bytes(length.to_bytes(8, "little") + header + struct.pack("<f", 2.0))
    assert read_weights(tmp_path / name)["w"].item() == 2.0


@pytest.mark.parametrize("name", ["https://example.org/w.pt", "hf_hub:owner/name", "hf-hub:owner/name", "s3://bucket/w.pt"])
def test_addresses_are_not_taken_for_files(name: str) -> None:
    with pytest.raises(InputError, match="no file '.*'; addresses are not fetched: download it, and give the file"):
        read_weights(Path(name))


def test_a_prefix_that_nobody_knows_shows_the_names_of_both() -> None:
    state = {f"backbone.{name}": value for name, value in network().state_dict().items()}
    with pytest.raises(InputError, match=r"The model's begin 0.weight, 0.bias, 1.weight; the file's backbone.0.weight, backbone.0.bias, "):
        load_weights(network(), state, Path("w.pt"))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(InputError, match=r"holds more than weights; save model\.state_dict\(\)"):
        read_weights(tmp_path / "whole.pt")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    for name, save in (("a.pt", torch.save), ("a.safetensors", safetensors.torch.save_file)):
        save(network().state_dict(), tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-40])
        with pytest.raises(InputError, match="is truncated or no file of weights"):
            read_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("2.bias"), "has no '2.bias'"),
        (lambda state: state.update({"3.bias": torch.ones(2)}), "the model has no '3.bias'"),
        (lambda state: state.update({"2.bias": torch.ones(5)}), r"'2.bias' is \[5\] .* and \[2\] in the model"),
        (lambda state: state["2.bias"].fill_(float("nan")), "'2.bias' .* is not finite"),
        (lambda state: state.update({"2.bias": torch.full((2,), 1e300, dtype=torch.float64)}), "'2.bias' .* is not finite"),
        (
            lambda state: state.update({"2.bias": torch.ones(2, dtype=torch.int64)}),
            "'2.bias' is torch.int64 .* and torch.float32 in the model",
        ),
        (lambda state: state.update({"2.bias": torch.ones(2).to_sparse()}), "'2.bias' in .* must be a tensor, dense, not sparse_coo"),
        (lambda state: state.update({"2.bias": torch.ones(2, device="meta")}), "'2.bias' in .* must be a tensor, dense, not on the meta"),
    ],
    ids=["missing", "left_over", "shape", "nan", "too_large", "integers", "sparse", "meta"],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(change, reason: str) -> None:
    state = network(1).state_dict()
    change(state)
    model = network(0)
    with pytest.raises(InputError, match=reason):
        load_weights(model, state, Path("weights.pt"))
    assert same(model.state_dict(), network(0).state_dict())


def test_fine_tuning_keeps_fresh_layers_and_freezes_the_rest(tmp_path: Path) -> None:
    torch.save(network(1).state_dict() | {"2.weight": torch.ones(7, 4), "2.bias": torch.ones(7)}, tmp_path / "w.pt")  # other classes
    model = network(0)
    fine_tune(model, FineTuning(weights=tmp_path / "w.pt", trainable=("1", "2"), fresh=("2",)), resuming=False)
    state, old, given = model.state_dict(), network(0).state_dict(), network(1).state_dict()
    assert torch.equal(state["2.weight"], old["2.weight"])
    assert torch.equal(state["0.weight"], given["0.weight"])
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["1.weight", "1.bias", "2.weight", "2.bias"]


def test_layers_go_by_their_whole_names(tmp_path: Path) -> None:
    def deep(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(*(nn.Linear(2, 2) for _ in range(12)))

    torch.save(deep(1).state_dict(), tmp_path / "w.pt")
    model = deep(0)
    fine_tune(model, FineTuning(weights=tmp_path / "w.pt", trainable=("1",), fresh=("1.bias",)), resuming=False)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["1.weight", "1.bias"]
    fresh = [name for name, value in model.state_dict().items() if torch.equal(value, deep(0).state_dict()[name])]
    assert fresh == ["1.bias"], "10 and 11 begin with 1 too"


def test_fresh_layers_always_train_and_may_be_buffers(tmp_path: Path) -> None:
    given = network(1)
    given[1].running_mean.fill_(5)
    torch.save(given.state_dict(), tmp_path / "w.pt")
    model = network(0)
    fine_tune(model, FineTuning(weights=tmp_path / "w.pt", trainable=("0",), fresh=("2", "1.running_mean")), resuming=False)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert model[1].running_mean.eq(0).all()


@pytest.mark.parametrize("layers", [{"trainable": ("head",)}, {"trainable": ("1.running_mean",)}, {"fresh": ("head",)}, {"fresh": ("",)}])
def test_a_layer_that_the_model_does_not_have_is_refused(tmp_path: Path, layers: dict) -> None:
    with pytest.raises(InputError, match=r"fine_tuning.\w+: the model has no layer '.*'; it has 0.weight"):
        fine_tune(network(), FineTuning(weights=tmp_path, **layers), resuming=True)


def test_a_part_of_a_random_network_trains_without_weights() -> None:
    model = network(0)
    fine_tune(model, FineTuning(trainable=("2",)), resuming=False)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["2.weight", "2.bias"]
    assert same(model.state_dict(), network(0).state_dict())
    with pytest.raises(InputError, match=r"fine_tuning.fresh is \['2'\] but fine_tuning.weights is not given"):
        FineTuning(fresh=("2",))


def test_a_run_fine_tunes_another_with_chosen_layers_and_resumes_without_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main([*TRAIN, "--out", str(first)]) == 0
    tune = [*TRAIN, "--objective", "AdversarialLogitPairing", "--objective.attack", "logitpair.attacks.PGD"]
    tune += ["--objective.attack.threat.eps", "0.1", "--objective.attack.step_size", "0.1", "--objective.attack.steps", "1"]
    tune += ["--fine_tuning.weights", str(first), "--fine_tuning.trainable", '["logits"]', "--out", str(second)]
    assert main(tune) == 0
    before, after = read_weights(first), read_weights(second)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"logits.weight", "logits.bias"}
    first.rename(tmp_path / "elsewhere")
    assert main(tune) == 0, "a finished or interrupted run needs its origin no more"
    assert lp.load(second)(torch.rand(1, 1, 8, 8)).shape == (1, 10)
