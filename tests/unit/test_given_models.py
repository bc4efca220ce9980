"""Networks that logitpair did not train: of timm, from files, by import path."""

from __future__ import annotations

import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError, checkpoint
from logitpair.compat import import_timm
from logitpair.models import count_logits, read_model
from logitpair.trials import fingerprint

SMALL = "timm:test_resnet"  # timm's smallest: half a million parameters


def small_net(seed: int = 0, classes: int = 5) -> nn.Module:
    """A network with BatchNorm and dropout for RGB images of any size, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(4, classes),
        ]
        model = nn.Sequential(*layers)
    model[1].running_mean.fill_(0.1)
    return model.eval()


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


def save_network(path: Path, model: nn.Module, how: str) -> Path:
    """Save a network with its code: scripted, traced, frozen or exported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if how == "exported":
            program = torch.export.export(model, (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: torch.export.Dim("batch")},))
            torch.export.save(program, path.with_suffix(".pt2"))
            path.with_suffix(".pt2").rename(path)
        else:
            scripted = torch.jit.trace(model, torch.rand(2, 3, 32, 32)) if how == "traced" else torch.jit.script(model)
            torch.jit.save(torch.jit.freeze(scripted) if how == "frozen" else scripted, path)
    return path


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    assert text.startswith("--"), text
    return text


def gradient(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]


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
    ("name", "options", "said"),
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
        ("logitpair.models.LeNet", {"mean": [0.5], "std": [0.0]}, r"--std must be above 0"),
        ("logitpair.models.LeNet", {"weights": Path("nowhere.pt")}, r"--weights: no file 'nowhere.pt'"),
        ("nowhere.ts", {}, r"--model: no file 'nowhere.ts'"),
        ("runs/nowhere", {}, r"--model: no file 'runs/nowhere'"),
        (".", {}, r"--model: '.' is a folder; a run directory is evaluated by `logitpair evaluate RUN`"),
        ("resnet18", {}, r"--model: 'resnet18' is neither a file nor an import path; accepted: timm:NAME"),
        ("", {}, r"--model: '' is neither a file nor an import path"),
    ],
)
def test_names_and_options_that_lead_nowhere_are_refused(here: Path, name: str, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}") as caught:
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
    for (file, classes), said in cases.items():
        with pytest.raises(InputError, match=f"^{said}") as caught:
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


@pytest.mark.parametrize("how", ["scripted", "traced", "frozen", "exported"])
def test_a_network_from_a_file_agrees_with_the_eager_one(tmp_path: Path, x: Tensor, how: str) -> None:
    eager = small_net()
    path = save_network(tmp_path / "model.pt", eager, how)  # one suffix for all: the content tells
    model = read_model(str(path))
    torch.testing.assert_close(model(x), eager(x))
    torch.testing.assert_close(gradient(model, x), gradient(eager, x))
    assert count_logits(model, x[0]) == 5
    attack = lp.attacks.PGD(lp.Linf(eps=0.1), step_size=0.05, steps=3)
    y = torch.tensor([0, 1])
    found = attack(model.to(memory_format=torch.channels_last), x, y, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, attack(eager, x, y, generator=torch.Generator().manual_seed(0)))
    normalised = read_model(str(path), mean=[0.2, 0.4, 0.6], std=[0.5, 0.5, 0.5])
    torch.testing.assert_close(normalised(x), eager((x - torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)) / 0.5))


def test_a_scripted_network_is_put_in_eval_mode(tmp_path: Path, x: Tensor) -> None:
    eager = small_net()
    path = save_network(tmp_path / "model.ts", eager.train(), "scripted")
    torch.testing.assert_close(read_model(str(path))(x), eager.eval()(x))


def test_two_frozen_networks_are_told_apart(tmp_path: Path) -> None:
    one, other = (save_network(tmp_path / f"{seed}.ts", small_net(seed), "frozen") for seed in (0, 1))
    assert fingerprint(read_model(str(one))) == fingerprint(read_model(str(one)))
    assert fingerprint(read_model(str(one))) != fingerprint(read_model(str(other)))


def test_files_that_hold_no_network_are_refused(tmp_path: Path) -> None:
    scripted = save_network(tmp_path / "scripted.ts", small_net(), "scripted").read_bytes()
    (tmp_path / "cut.ts").write_bytes(scripted[:-100])
    for file, member in (("rotten.ts", "constants.pkl"), ("rotten.pt2", "archive_format")):
        with zipfile.ZipFile(tmp_path / file, "w") as archive:
            archive.writestr(f"rotten/{member}", "junk")
    torch.save(small_net().state_dict(), tmp_path / "state.pt")
    safetensors.torch.save_file(small_net().state_dict(), tmp_path / "state.safetensors")
    torch.save(small_net(), tmp_path / "pickled.pt")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "my_net.py").write_text("")
    as_weights = r"holds weights but no network; name the network by --model, .* and give this file by --weights"
    cases = {
        "state.pt": as_weights,
        "state.safetensors": as_weights,
        "pickled.pt": "holds pickled objects, which run code .* state_dict",
        "cut.ts": "is truncated or holds no network; accepted: a TorchScript file",
        "rotten.ts": "is damaged, or of another version of PyTorch",
        "rotten.pt2": "is damaged, or of another version of PyTorch",
        "notes.txt": "is truncated or holds no network",
        "my_net.py": "is Python source; accepted: an import path such as my_net:make_net",
    }
    for file, said in cases.items():
        with pytest.raises(InputError, match=f"^--model: '{re.escape(str(tmp_path / file))}' {said}") as caught:
            read_model(str(tmp_path / file))
        one_line(caught)


def test_a_file_with_its_own_weights_takes_no_others(tmp_path: Path) -> None:
    path = save_network(tmp_path / "model.ts", small_net(), "scripted")
    torch.save(small_net().state_dict(), tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"^--weights: a file such as '.*model.ts' has weights of its own"):
        read_model(str(path), weights=tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"^--weights: '.*model.ts' holds a whole network; give it by --model"):
        read_model("logitpair.models.LeNet", weights=path)


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
        assert torch.equal(read_model(name, weights=here / "w.pt")(x), made(x)), name
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
    ("name", "said"),
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
def test_import_paths_that_give_no_network_are_refused(here: Path, name: str, said: str) -> None:
    (here / "my_module.py").write_text(MODULE)
    (here / "my_broken.py").write_text("1 / 0")
    (here / "my_lacking.py").write_text("import my_library")
    (here / "my_script.py").write_text("import sys; sys.exit(1)")
    with pytest.raises(InputError, match=f"^--model: {said}") as caught:
        read_model(name)
    one_line(caught)


def test_weights_of_another_network_or_for_none_are_refused(here: Path) -> None:
    (here / "my_module.py").write_text(MODULE + "\ndef bare(): return nn.Flatten()\n")
    torch.save(small_net().state_dict(), here / "other.pt")
    for name, said in {
        "my_module.MyNet": r"--weights: the model has no '0.bias', which 'other.pt' holds",
        "my_module.bare": r"--weights: the network has no weights that 'other.pt' could replace",
    }.items():
        with pytest.raises(InputError, match=f"^{said}") as caught:
            read_model(name, weights=Path("other.pt"))
        one_line(caught)


class Returns(nn.Module):
    """Whatever a function makes of the images."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Conv2d(1, 2, 3), r"--model: does not take images 1 x 3 x 16 x 16 \(batch, channels, height, width\): .*channels"),
        (Returns(lambda x: {"logits": x.mean((2, 3))}), r"--model: must return logits \[1, classes >= 2\] for 1 images, not dict"),
        (Returns(lambda x: x), r"--model: must return logits .* not float32 \[1, 3, 16, 16\]"),
        (Returns(lambda x: x.mean((2, 3))[:1]), r"--model: must return logits \[2, classes >= 2\] for 2 images"),
        (Returns(lambda x: x.mean((2, 3)) / 0), r"--model: returns logits that are not finite"),
        (Returns(lambda x: x.missing), r"--model: does not take images .*'Tensor' object has no attribute 'missing'"),
    ],
    ids=["channels", "dict", "images", "one_at_a_time", "not_finite", "raises"],
)
def test_networks_that_do_not_fit_the_images_are_refused(model: nn.Module, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}") as caught:
        count_logits(model.eval(), torch.full((3, 16, 16), 200, dtype=torch.uint8))
    one_line(caught)


def test_a_program_for_one_batch_size_is_refused(tmp_path: Path, x: Tensor) -> None:
    program = torch.export.export(small_net(), (x[:1],))
    torch.export.save(program, tmp_path / "one.pt2")
    with pytest.raises(InputError, match=r"^--model: does not take images 2 x 3 x 32 x 32") as caught:
        count_logits(read_model(str(tmp_path / "one.pt2")), x[0])
    one_line(caught)


def test_the_error_of_a_scripted_network_is_its_last_line(tmp_path: Path) -> None:
    path = save_network(tmp_path / "model.ts", small_net(), "scripted")
    with pytest.raises(InputError, match=r"does not take images 1 x 1 x 8 x 8 .*: RuntimeError: .*channels") as caught:
        count_logits(read_model(str(path)), torch.rand(1, 8, 8))
    one_line(caught)


def test_the_count_of_logits_leaves_images_of_bytes_and_of_floats_the_same() -> None:
    seen = []
    model = Returns(lambda x: (seen.append(x), x.mean((2, 3)))[1])
    image = torch.full((3, 4, 4), 51, dtype=torch.uint8)
    assert count_logits(model, image) == count_logits(model, image / 255) == 3
    assert all(torch.equal(x, torch.full_like(x, 0.2)) for x in seen)


def test_probabilities_from_a_file_are_warned_of(tmp_path: Path, x: Tensor) -> None:
    path = save_network(tmp_path / "model.ts", nn.Sequential(small_net(), nn.Softmax(1)).eval(), "scripted")
    attack = lp.attacks.PGD(lp.Linf(eps=0.1), step_size=0.1, steps=1)
    with pytest.warns(UserWarning, match="returns probabilities, not logits"):
        lp.evaluate(read_model(str(path)), (x, torch.tensor([0, 1])), attacks={"pgd": attack}, progress=False)
