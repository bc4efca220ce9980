"""Networks that logitpair did not train, of timm and by import path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from image_folders import noise_image
from small_networks import gradient, one_line, small_net
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.models import preprocessing, read_model
from logitpair.models.inference import count_logits
from logitpair.runtime.lazy_imports import import_timm
from logitpair.storage import checkpoint

SMALL = "timm:test_resnet"  # timm's smallest: half a million parameters


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


@pytest.mark.parametrize("name", ["resnet18", "test_resnet"])
def test_a_network_of_timm_sees_what_timm_would_feed_it(tmp_path: Path, x: Tensor, name: str) -> None:
    network = import_timm().create_model(name, num_classes=7).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    config = network.default_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    model = read_model(f"timm:{name}", weights=tmp_path / "w.pt")
    torch.testing.assert_close(model(x), network((x - mean) / std))
    assert count_logits(model, x[0]) == 7
    assert not any(module.training for module in model.modules())
    assert gradient(model, x).abs().sum() > 0


@pytest.mark.parametrize(("name", "cut"), [("test_resnet", (160, 168, "bilinear")), ("inception_v3", (299, 341, "bicubic"))])
def test_images_are_cut_as_timm_cuts_them(tmp_path: Path, name: str, cut: tuple[int, int, str]) -> None:
    timm = import_timm()
    (tmp_path / "cat").mkdir()
    noise_image(0, 400, 500).save(tmp_path / "cat" / "0.png")
    size, resize, interpolation = found = preprocessing(f"timm:{name}")
    assert found == cut
    ours = lp.data.Photos(root=tmp_path, size=size, resize=resize, interpolation=interpolation).first()
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    theirs = timm.data.create_transform(**(config | {"mean": (0, 0, 0), "std": (1, 1, 1)}))(noise_image(0, 400, 500))
    assert torch.equal(ours, (255 * theirs).round().to(torch.uint8))


def test_other_networks_and_sizes_are_cut_otherwise() -> None:
    assert preprocessing("my.net:Net") == (224, None, "bilinear")
    assert preprocessing("my.net:Net", 64) == (64, None, "bilinear")
    assert preprocessing("timm:resnet18", 128) == (128, 134, "bicubic")
    with pytest.warns(UserWarning, match="timm cuts images for timm:convnext_base.* by 'squash'; here their centre is cropped"):
        assert preprocessing("timm:convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384") == (384, None, "bicubic")
    with pytest.warns(UserWarning, match="timm cuts images for timm:volo_d4_448.* by 'border'; here their centre is cropped"):
        assert preprocessing("timm:volo_d4_448.sail_in1k") == (448, None, "bicubic")


def test_weights_of_timm_are_read_as_every_tool_saves_them(tmp_path: Path, x: Tensor) -> None:
    timm = import_timm()
    network = timm.create_model("test_resnet", num_classes=4).eval()
    state = network.state_dict()
    wrapped = lp.models.Timm("test_resnet", classes=4)
    wrapped.network.model.load_state_dict(state)
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "parallel.pth.tar")
    torch.save({f"_orig_mod.{key}": value for key, value in state.items()}, tmp_path / "compiled.pt")
    torch.save({"state_dict": {f"model.{key}": value for key, value in state.items()}}, tmp_path / "lightning.ckpt")
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    checkpoint.save(tmp_path / "run" / "checkpoints", {"model": wrapped.state_dict()}, step=1, keep=1)
    expected = wrapped.eval()(x)
    for path in ("parallel.pth.tar", "compiled.pt", "lightning.ckpt", "w.safetensors", "run"):
        assert torch.equal(read_model(SMALL, weights=tmp_path / path)(x), expected), path


def test_without_weights_a_network_of_timm_is_random_and_says_so(x: Tensor) -> None:
    before = torch.get_rng_state()
    with pytest.warns(UserWarning, match=r"--model: timm:test_resnet has random weights; --weights FILE or --pretrained"):
        model = read_model(SMALL)
    with pytest.warns(UserWarning, match="random weights"):
        again = read_model(SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    assert count_logits(model, x[0]) == 1000
    assert torch.equal(model(x), again(x))
    with pytest.warns(UserWarning, match="random weights"):
        assert count_logits(read_model(SMALL, classes=3), x[0]) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm:resnet81", {}, r"--model: timm has no 'resnet81'; near it: .*resnet"),
        ("timm:test_resnet.nonsense", {}, r"--model: .*nonsense.* It has test_resnet.r160_in1k"),
        ("timm:vit_small_patch16_224.dino", {}, r"--classes is not given, and timm's .* comes without a classifier"),
        (SMALL, {"classes": 1}, r"--classes must be at least 2, not 1"),
        (SMALL, {"classes": 10, "pretrained": True}, r"--classes: the published test_resnet has 1000 logits, .* cannot make them 10"),
        (SMALL, {"weights": Path("w.pt"), "pretrained": True}, r"--weights and --pretrained both"),
        (SMALL, {"mean": [0.5], "std": [0.5]}, r"--mean, --std: 'timm:test_resnet' comes with its own normalisation"),
        ("logitpair.models.LeNet", {"pretrained": True}, r"--pretrained is for timm:NAME only"),
        ("logitpair.models.LeNet", {"classes": 10}, r"--classes is for timm:NAME only"),
        ("logitpair.models.LeNet", {"mean": [0.5]}, r"--mean is given without --std"),
        ("logitpair.models.LeNet", {"std": [0.5]}, r"--std is given without --mean"),
        ("logitpair.models.LeNet", {"mean": [0.5], "std": [0.5, 0.5]}, r"--mean has 1 numbers and --std 2"),
        ("logitpair.models.LeNet", {"mean": [], "std": []}, r"--mean has 0 numbers"),
        ("logitpair.models.LeNet", {"mean": [123.7], "std": [58.4]}, r"--mean must lie in \[0, 1\].*\[123.7\]"),
        ("logitpair.models.LeNet", {"mean": [0.5], "std": [0.0]}, r"--std must lie in \(0, 1\]"),
        ("logitpair.models.LeNet", {"weights": Path("nowhere.pt")}, r"--weights: no file 'nowhere.pt'"),
        ("nowhere.ts", {}, r"--model: no file 'nowhere.ts'"),
        ("runs/nowhere", {}, r"--model: no file 'runs/nowhere'"),
        (".", {}, r"--model: '.' is a folder; a run directory is evaluated by `logitpair evaluate RUN`"),
        ("resnet18", {}, r"--model: 'resnet18' is neither a file nor an import path; accepted: timm:NAME"),
        ("", {}, r"--model: '' is neither a file nor an import path"),
    ],
)
def test_names_and_options_that_lead_nowhere_are_refused(here: Path, name: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as caught:
        read_model(name, **options)
    one_line(caught)


def test_weights_that_do_not_fit_a_network_of_timm_are_refused(tmp_path: Path) -> None:
    state = import_timm().create_model("test_resnet", num_classes=4).state_dict()
    torch.save(state, tmp_path / "w.pt")
    torch.save(small_net().state_dict(), tmp_path / "other.pt")
    torch.save({key: value for key, value in state.items() if key != "layer1.0.conv1.weight"}, tmp_path / "less.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:-400])
    cases = {
        ("w.pt", 5): r"--classes is 5, but the weights '.*w.pt' are for 4 \('fc.weight'\)",
        ("other.pt", None): r"--weights: '.*other.pt' has no 'fc.weight', the last layer of timm's test_resnet.*It has 0.weight",
        ("other.pt", 5): r"--weights: the model has no '0.bias', which '.*other.pt' holds",
        ("less.pt", None): r"--weights: '.*less.pt' has no 'layer1.0.conv1.weight'",
        ("cut.pt", None): r"--weights: '.*cut.pt' is truncated",
    }
    for (file, classes), message in cases.items():
        with pytest.raises(InputError, match=f"^{message}") as caught:
            read_model(SMALL, weights=tmp_path / file, classes=classes)
        one_line(caught)


def test_published_weights_out_of_reach_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **settings: object) -> None:
        assert settings["pretrained"]
        raise OSError("no route to the hub\nand much more")

    monkeypatch.setattr(import_timm(), "create_model", unreachable)
    with pytest.raises(InputError, match=r"^--pretrained: .* test_resnet \(no route to the hub\); .* --weights FILE$") as caught:
        read_model(SMALL, pretrained=True)
    one_line(caught)


def test_published_weights_are_asked_for_with_their_own_classes(monkeypatch: pytest.MonkeyPatch, x: Tensor) -> None:
    timm = import_timm()
    asked, create = [], timm.create_model

    def published(name: str, pretrained: bool, num_classes: int) -> nn.Module:
        asked.append((name, pretrained, num_classes))
        return create(name, num_classes=num_classes)

    monkeypatch.setattr(timm, "create_model", published)
    assert count_logits(read_model(SMALL, pretrained=True), x[0]) == 1000
    assert asked == [("test_resnet", True, 1000)]


MODULE = """
import torch
from torch import nn

class MyNet(nn.Sequential):
    def __init__(self, classes=3):
        super().__init__(nn.Flatten(), nn.Linear(3 * 4 * 4, classes))

class Outer:
    Inner = MyNet

def make_net():
    net = MyNet()
    nn.init.ones_(net[1].weight)
    return net

def needs(width, *, depth): ...
def raises(): raise RuntimeError("no\\nweights")
def returns_none(): return None

ready = make_net()
number = 3
"""


def test_import_paths_from_the_current_folder(here: Path) -> None:
    (here / "my_package").mkdir()
    (here / "my_package" / "my_module.py").write_text(MODULE)
    x = torch.rand(2, 3, 4, 4)
    made = read_model("my_package.my_module:make_net")
    torch.save(made.state_dict(), here / "w.pt")
    for name in ("my_package.my_module.MyNet", "my_package.my_module:MyNet", "my_package.my_module:Outer.Inner"):
        for weights in (here / "w.pt", "w.pt"):
            assert torch.equal(read_model(name, weights=weights)(x), made(x)), name
    for name in ("my_package.my_module.make_net", "my_package.my_module.ready"):
        model = read_model(name)
        torch.testing.assert_close(model[1].weight, torch.ones(3, 48))
        assert not model.training
    with pytest.warns(UserWarning, match=r"without --weights, my_package.my_module.MyNet has the weights that it begins with"):
        read_model("my_package.my_module.MyNet")


def test_a_network_of_ours_with_the_weights_of_a_run(tmp_path: Path) -> None:
    trained = lp.models.LeNet(filters=32).eval()
    checkpoint.save(tmp_path / "run" / "checkpoints", {"model": trained.state_dict()}, step=1, keep=1)
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(read_model("logitpair.models.LeNet", weights=tmp_path / "run")(x), trained(x))
    model = read_model("logitpair.models.LeNet", weights=tmp_path / "run", mean=[0.5], std=[0.25])
    torch.testing.assert_close(model(x), trained((x - 0.5) / 0.25))
    assert gradient(model, x).abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_nowhere.MyNet", r"'my_nowhere.MyNet': no module 'my_nowhere' in "),
        ("my_module.deeper.MyNet", r"'my_module.deeper.MyNet': no module 'my_module.deeper' in "),
        ("my_module.YourNet", r"'my_module' has no 'YourNet'; it has .*MyNet"),
        ("my_module:MyNet.make", r"'my_module' has no 'MyNet.make'"),
        ("my_module:", r"'my_module:' is neither a file nor an import path"),
        ("my_module:needs", r"'my_module:needs' needs an argument 'width'"),
        ("my_module.raises", r"'my_module.raises\(\)' raised RuntimeError: no weights"),
        ("my_module.returns_none", r"'my_module.returns_none\(\)' returned None; accepted: an nn.Module"),
        ("my_module.number", r"'my_module.number' is a int; accepted: a class or a function"),
        ("my_broken.MyNet", r"importing 'my_broken' raised ZeroDivisionError: division by zero"),
        ("my_lacking.MyNet", r"importing 'my_lacking' raised ModuleNotFoundError: No module named 'my_library'"),
        ("my_script.MyNet", r"importing 'my_script' raised SystemExit: 1"),
    ],
)
def test_import_paths_that_give_no_network_are_refused(here: Path, name: str, message: str) -> None:
    (here / "my_module.py").write_text(MODULE)
    (here / "my_broken.py").write_text("1 / 0")
    (here / "my_lacking.py").write_text("import my_library")
    (here / "my_script.py").write_text("import sys; sys.exit(1)")
    with pytest.raises(InputError, match=f"^--model: {message}") as caught:
        read_model(name)
    one_line(caught)


def test_weights_of_another_network_or_for_none_are_refused(here: Path) -> None:
    (here / "my_module.py").write_text(MODULE + "\ndef bare(): return nn.Flatten()\n")
    torch.save(small_net().state_dict(), here / "other.pt")
    for name, message in {
        "my_module.MyNet": r"--weights: the model has no '0.bias', which 'other.pt' holds",
        "my_module.bare": r"--weights: the network has no weights that 'other.pt' could replace",
    }.items():
        with pytest.raises(InputError, match=f"^{message}") as caught:
            read_model(name, weights=Path("other.pt"))
        one_line(caught)
