"""What is written of a run's network gives the run's logits, or is refused."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import logitpair as lp
from logitpair import InputError
from logitpair.data import Folder
from logitpair.models import preprocessing, read_model
from logitpair.runs import export as module
from logitpair.runs.export import export_run

X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run(digits_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(digits_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(("format", "name"), [("safetensors", "exported"), ("torch-export", "exported.pt2"), ("onnx", "exported.onnx")])
def test_what_was_written_gives_the_logits_of_the_run(run: Path, format: module.Format, name: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
    out = export_run(run, format, X)
    assert out == run / name
    more = torch.rand(7, 1, 8, 8)
    torch.testing.assert_close(read_model(str(out))(more), lp.load(run)(more), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match=r"^--mean, --std: '.*' comes with its own normalisation"):
        read_model(str(out), mean=[0.5], std=[0.5])


def test_photos_are_cut_for_what_was_written_as_for_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, config = module.run_directory.load_config(run)
    config = replace(config, data=Folder(root=run, size=8, crop_pct=0.5))
    monkeypatch.setattr(module.run_directory, "load_config", lambda path: (content, config))
    assert preprocessing(str(export_run(run, "safetensors", X))) == (8, 16, "bilinear")


@pytest.mark.parametrize("format", ["safetensors", "torch-export"])
def test_another_network_than_the_runs_is_noticed(run: Path, format: module.Format, monkeypatch: pytest.MonkeyPatch) -> None:
    def slightly_off(name: str) -> torch.nn.Module:
        model = read_model(name)
        with torch.no_grad():
            next(p for p in model.parameters() if p.ndim == 1).add_(0.01)
        return model

    monkeypatch.setattr(module, "read_model", slightly_off)
    with pytest.raises(InputError, match=r"^--format: '.*' gives logits that differ by .* of their spread"):
        export_run(run, format, X)


def test_another_onnx_file_than_the_runs_is_noticed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    written = module._program

    def slightly_off(model: torch.nn.Module, x: torch.Tensor, format: module.Format) -> bytes:
        program = onnx.load_from_string(written(model, x, format))
        bias = next(tensor for tensor in program.graph.initializer if tensor.name == "logits.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(1.1 * onnx.numpy_helper.to_array(bias), bias.name))
        return program.SerializeToString()

    monkeypatch.setattr(module, "_program", slightly_off)
    with pytest.raises(InputError, match=r"^--format: '.*exported.onnx' gives logits that differ by .* of their spread"):
        export_run(run, "onnx", X)


def test_images_that_the_network_does_not_take_are_refused_before_anything_is_written_over(run: Path) -> None:
    written = export_run(run, "safetensors", X) / "config.json"
    before = written.read_text()
    with pytest.raises(InputError, match=r"^--shape: the network cannot take images of \[3, 8, 8\]: "):
        export_run(run, "safetensors", torch.rand(4, 3, 8, 8))
    assert written.read_text() == before


def test_without_the_libraries_of_onnx_the_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"^--format onnx needs onnxscript, .*pip install 'logitpair\[onnx\]'$"):
        export_run(run, "onnx", X)


def test_a_network_that_torch_cannot_follow_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    monkeypatch.setattr(module.run_directory, "load_network", lambda *arguments: Branching())
    with pytest.raises(InputError, match="^--format torch-export: Branching cannot be exported") as refused:
        export_run(run, "torch-export", X)
    assert "\n" not in str(refused.value)
    assert not (run / "exported.pt2").exists()
