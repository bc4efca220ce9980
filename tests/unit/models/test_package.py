"""Folders of a network: ours, timm's, foreign ones, and one fetched from a hub, which is a local server in the layout of Hugging Face's."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from logitpair import InputError
from logitpair.models import SmallResNetV2, WideResNet, preprocessing, read_model
from logitpair.models.package import Architecture, write_package
from logitpair.runtime.lazy_imports import import_timm


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def wide() -> nn.Module:
    return WideResNet(10, 1, classes=7).eval()


@pytest.fixture
def folder(tmp_path: Path, wide: nn.Module) -> Path:
    architecture = Architecture("logitpair.models.WideResNet", {"depth": 10, "width": 1, "classes": 7})
    write_package(tmp_path / "net", architecture, wide, (3, 32, 32))
    return tmp_path / "net"


def test_what_was_written_is_read_with_its_size(folder: Path, wide: nn.Module, x: Tensor) -> None:
    assert torch.equal(read_model(str(folder))(x), wide(x))
    assert preprocessing(str(folder)) == (32, None, "bilinear")
    assert preprocessing(str(folder), 48) == (48, None, "bilinear")


@pytest.mark.parametrize("safe", [True, False])
def test_timms_own_layout_is_read_with_its_normalisation_and_its_crop(tmp_path: Path, x: Tensor, safe: bool) -> None:
    timm = import_timm()
    network = timm.create_model("test_resnet", num_classes=4).eval()
    network.pretrained_cfg = network.pretrained_cfg | {"mean": (0.1, 0.2, 0.3), "std": (0.9, 0.8, 0.7), "crop_pct": 0.5}
    timm.models.save_for_hf(network, tmp_path, safe_serialization=safe)
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.9, 0.8, 0.7]).view(3, 1, 1)
    torch.testing.assert_close(read_model(str(tmp_path))(x), network((x - mean) / std))
    assert preprocessing(str(tmp_path)) == (160, 320, "bilinear")


def test_arguments_that_timm_notes_are_heeded_and_none_that_fetch(tmp_path: Path, x: Tensor) -> None:
    timm = import_timm()
    network = timm.create_model("test_resnet", num_classes=4, global_pool="max").eval()
    timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"] = {"global_pool": "max", "pretrained": True, "checkpoint_path": str(tmp_path / "code.pt")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    mean, std = (torch.tensor(config["pretrained_cfg"][key]).view(3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(read_model(str(tmp_path))(x), network((x - mean) / std))
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_args": {"depth": 3}}))
    with pytest.raises(InputError, match=r"^--model: timm's test_resnet by config.json raised TypeError: .*depth"):
        read_model(str(tmp_path))


def test_a_class_of_somebody_elses_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"my\.Net is none of logitpair\.models\.\*, .*; accepted: torch-export"):
        write_package(tmp_path / "net", Architecture("my.Net", {}), nn.Linear(2, 2), (3, 32, 32))
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "names no network"),
        ({"class_path": "os.system", "init_args": {"command": "touch made"}}, "names no network"),
        ({"class_path": "logitpair.models.read_model", "init_args": {"name": "my:net"}}, "names no network"),
        ({"class_path": "logitpair.models.load_model.importlib", "init_args": {}}, "names no network"),
        ({"class_path": "logitpair.models.WideResNet", "init_args": [10]}, "names no network"),
        ({"class_path": "logitpair.models.WideResNet", "init_args": {"depth": 11}}, "depth must be 6n"),
        ({"class_path": "logitpair.models.WideResNet", "init_args": {"deep": 10}}, "raised TypeError"),
        ({"class_path": "logitpair.models.WideResNet", "init_args": {"depth": 10, "width": 2}}, r"model.safetensors'? "),
        ({"architecture": "test_resnet"}, "no num_classes"),
        ({"architecture": "no_such_net", "num_classes": 3}, "timm has no 'no_such_net'"),
        (
            {"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": {"mean": None}},
            "^--model: timm's test_resnet by .* mean must",
        ),
    ],
)
def test_foreign_and_damaged_folders_are_refused_in_one_line(folder: Path, config: Any, message: str, no_shape_checks: None) -> None:
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(InputError, match=message) as refused:
        read_model(str(folder))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("noted", [{"input_size": "big"}, {"input_size": [3, 0]}, {"input_size": 9}, {"crop_pct": -1}, {"crop_pct": "all"}])
def test_a_size_that_is_none_is_refused_in_one_line(folder: Path, noted: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pretrained_cfg": config["pretrained_cfg"] | noted}))
    with pytest.raises(InputError, match="^--model: .* notes input_size .* and crop_pct .*; accepted: pixels"):
        preprocessing(str(folder))


def test_options_that_exclude_the_folders_own_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    for options, message in (
        ({"weights": tmp_path / "w.pt"}, "--weights"),
        ({"mean": [0.5], "std": [0.5]}, "--mean, --std"),
        ({"classes": 3}, "--classes"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            read_model(str(folder), **options)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"^--model: weights: no file '.*model.safetensors'"):
        read_model(str(folder))


def test_published_weights_are_never_fetched_for_a_folder(tmp_path: Path, x: Tensor) -> None:
    network = SmallResNetV2(classes=3, blocks=(1,), width=8).eval()
    write_package(tmp_path, Architecture("logitpair.models.SmallResNetV2", {"classes": 3, "blocks": [1], "width": 8}), network, (3, 32, 32))
    config = json.loads((tmp_path / "config.json").read_text())
    config["init_args"]["pretrained"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(read_model(str(tmp_path))(x), network(x))


@pytest.fixture
def asked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A local server that holds the folder as ``someone/net``; the paths that were asked for."""
    (tmp_path / "hub" / "someone").mkdir(parents=True)
    (tmp_path / "hub" / "someone" / "net").symlink_to(folder)
    with hub.serving(tmp_path / "hub", monkeypatch) as paths:
        yield paths


def test_a_network_of_a_hub_is_fetched_with_its_revision(asked: list[str], wide: nn.Module, x: Tensor) -> None:
    assert torch.equal(read_model("hf:someone/net@v1")(x), wide(x))
    assert {path.split("/resolve/")[1] for path in asked if "/resolve/" in path} == {"v1/config.json", "v1/model.safetensors"}
    assert preprocessing("hf:someone/net").size == 32


def test_weights_of_older_tools_are_read_from_a_hub(asked: list[str], folder: Path, wide: nn.Module, x: Tensor) -> None:
    torch.save(safetensors.torch.load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(read_model("hf:someone/net")(x), wide(x))


MIXED = """
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

class Mixed(nn.Module, PyTorchModelHubMixin):
    def __init__(self, width, classes=3, *, pool=nn.AvgPool2d(32)):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 1), pool, nn.Flatten(), nn.Linear(width, classes))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.fixture
def mixed(asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[nn.Module]:
    """A network of a class with the mixin, published as ``someone/mixed``; its module can be imported."""
    (tmp_path / "mixed_net.py").write_text(MIXED)
    monkeypatch.syspath_prepend(tmp_path)
    written = importlib.import_module("mixed_net").Mixed(5, classes=4).eval()
    written.save_pretrained(tmp_path / "hub" / "someone" / "mixed")
    yield written
    del sys.modules["mixed_net"]


def test_a_class_with_the_hub_s_mixin_takes_its_arguments_from_there(mixed: nn.Module, asked: list[str], tmp_path: Path, x: Tensor) -> None:
    assert torch.equal(read_model("mixed_net:Mixed", weights=Path("hf:someone/mixed@v1"))(x), mixed(x))
    assert "/someone/mixed/resolve/v1/config.json" in asked
    assert torch.equal(read_model("mixed_net:Mixed", weights=tmp_path / "hub" / "someone" / "mixed")(x), mixed(x))


def test_weights_on_a_hub_go_into_networks_of_other_kinds(mixed: nn.Module, asked: list[str], tmp_path: Path, x: Tensor) -> None:
    (tmp_path / "plain_net.py").write_text("from mixed_net import Mixed\n\ndef make():\n    return Mixed(5, 4)\n")
    assert torch.equal(read_model("plain_net:make", weights=Path("hf:someone/mixed"))(x), mixed(x))
    timm = import_timm()
    network = timm.create_model("test_resnet", num_classes=4).eval()
    timm.models.save_for_hf(network, tmp_path / "hub" / "someone" / "timms", safe_serialization=True)
    loaded = read_model("timm:test_resnet", weights=Path("hf:someone/timms"))
    assert torch.equal(loaded(x), read_model("hf:someone/timms")(x))


def test_a_class_and_a_folder_that_do_not_go_together_are_one_line(mixed: nn.Module, asked: list[str], tmp_path: Path) -> None:
    published = tmp_path / "hub" / "someone" / "mixed"
    (published / "config.json").write_text(json.dumps({"width": 6, "classes": 4}))
    cases = {
        "^--model: 'mixed_net:Mixed\\(\\)' raised .*size mismatch": Path("hf:someone/mixed"),
        "^--weights: cannot fetch config.json": Path("hf:someone/nothing"),
        "^--weights: 'hf:mixed' is not accepted; accepted: hf:OWNER/NAME": Path("hf:mixed"),
    }
    for message, weights in cases.items():
        with pytest.raises(InputError, match=message) as refused:
            read_model("mixed_net:Mixed", weights=weights)
        assert "\n" not in str(refused.value)


def test_what_a_hub_does_not_have_is_one_line(asked: list[str]) -> None:
    for name, message in (("hf:someone/other", "cannot fetch"), ("hf:someone/net@v2", "cannot fetch"), ("hf:net", "OWNER/NAME")):
        with pytest.raises(InputError, match=f"^--model: .*{message}") as refused:
            read_model(name)
        assert "\n" not in str(refused.value)
