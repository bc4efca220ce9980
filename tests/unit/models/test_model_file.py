"""Networks from files that hold their code, and whether a network fits the images."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_networks import gradient, one_line, small_net
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.models import read_model
from logitpair.models.inference import count_logits
from logitpair.storage.model_fingerprint import fingerprint


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


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


@pytest.mark.parametrize("how", ["scripted", "traced", "frozen", "exported"])
def test_a_network_from_a_file_agrees_with_the_eager_one(tmp_path: Path, x: Tensor, how: str) -> None:
    eager = small_net()
    path = save_network(tmp_path / "model.pt", eager, how)  # one suffix for all: the content decides
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


def test_two_frozen_networks_differ(tmp_path: Path) -> None:
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
    (tmp_path / "pointer.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "page.pt").write_text("<!doctype html>")
    as_weights = r"holds weights but no network; name the network by --model, .* and give this file by --weights"
    cases = {
        "state.pt": as_weights,
        "state.safetensors": as_weights,
        "pickled.pt": "holds pickled objects, which run code .* state_dict",
        "cut.ts": "is truncated or holds no network; accepted: a TorchScript file",
        "rotten.ts": "is damaged, or of another version of PyTorch",
        "rotten.pt2": "is damaged, or of another version of PyTorch",
        "notes.txt": "is text, as a web page or a message of a server is",
        "pointer.pt": "is a Git LFS pointer",
        "page.pt": "is text, as a web page or a message of a server is, not the file that was asked for; accepted: a TorchScript file",
        "my_net.py": "is Python source; accepted: an import path such as my_net:make_net",
    }
    for file, message in cases.items():
        with pytest.raises(InputError, match=f"^--model: '{re.escape(str(tmp_path / file))}' {message}") as caught:
            read_model(str(tmp_path / file))
        one_line(caught)


def test_a_file_with_its_own_weights_takes_no_others(tmp_path: Path) -> None:
    path = save_network(tmp_path / "model.ts", small_net(), "scripted")
    torch.save(small_net().state_dict(), tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"^--weights: a file such as '.*model.ts' has weights of its own"):
        read_model(str(path), weights=tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"^--weights: '.*model.ts' holds a whole network; give it by --model"):
        read_model("logitpair.models.LeNet", weights=path)


class Returns(nn.Module):
    """Whatever a function makes of the images."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(1, 2, 3), r"--model: does not take images 1 x 3 x 16 x 16 \(batch, channels, height, width\): .*channels"),
        (
            Returns(lambda x: {"logits": x.mean((2, 3))}),
            r"--model: must return logits \[1, classes >= 2\] in floating point for 1 images, not dict",
        ),
        (Returns(lambda x: x), r"--model: must return logits .* not float32 \[1, 3, 16, 16\]"),
        (Returns(lambda x: x.mean((2, 3))[:1]), r"--model: must return logits \[2, classes >= 2\] in floating point for 2 images"),
        (Returns(lambda x: x.mean((2, 3)) / 0), r"--model: returns logits that are not finite"),
        (Returns(lambda x: x.missing), r"--model: does not take images .*'Tensor' object has no attribute 'missing'"),
    ],
    ids=["channels", "dict", "images", "one_at_a_time", "not_finite", "raises"],
)
def test_networks_that_do_not_fit_the_images_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as caught:
        count_logits(model.eval(), torch.full((3, 16, 16), 200, dtype=torch.uint8))
    one_line(caught)


def test_a_program_for_one_batch_size_is_refused(tmp_path: Path, x: Tensor) -> None:
    program = torch.export.export(small_net(), (x[:1],))
    torch.export.save(program, tmp_path / "one.pt2")
    with pytest.raises(InputError, match=r"^--model: does not take images 2 x 3 x 32 x 32") as caught:
        count_logits(read_model(str(tmp_path / "one.pt2")), x[0])
    one_line(caught)
    assert "--size" not in str(caught.value)


def test_a_program_for_images_of_one_size_names_the_option(tmp_path: Path, x: Tensor) -> None:
    program = torch.export.export(small_net(), (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(InputError, match=r"^--model: does not take images .* 64 x 64 .*; --size gives another$") as caught:
        count_logits(read_model(str(tmp_path / "net.pt2")), torch.rand(3, 64, 64))
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
