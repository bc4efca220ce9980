"""`logitpair evaluate --model`: networks that logitpair did not train, on custom photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from torch import nn

import logitpair as lp
from logitpair import InputError
from logitpair.cli.main import main
from logitpair.cli.options import add_options
from logitpair.cli.task import add_task, load_task
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.storage.results import Network

ATTACKS = ["--attacks", "pgd_4_2_3,fgsm_4", "--device", "cpu"]


class Colours(nn.Module):
    """Tells red, green and blue images apart."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 20 * x.mean(dim=(2, 3))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of each colour, one of them nearly grey."""
    for channel, name in enumerate(("red", "green", "blue")):
        folder = tmp_path / "photos" / f"{channel}-{name}"
        folder.mkdir(parents=True)
        for number, strength in enumerate((200, 150, 132)):
            colour = [128, 128, 128]
            colour[channel] = strength
            Image.new("RGB", (40, 32), tuple(colour)).save(folder / f"{number}.png")
    return tmp_path / "photos"


def results(out: Path) -> dict:
    return json.loads((out / "evaluation" / "test" / "results.json").read_text())


def test_a_torchscript_file(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.jit.trace(Colours(), torch.rand(1, 3, 16, 16)).save(tmp_path / "colours.ts")
    out = tmp_path / "out"
    command = ["evaluate", "--model", str(tmp_path / "colours.ts"), "--data-dir", str(photos), "--size", "16", "--out", str(out), *ATTACKS]
    assert main([*command, "--keep-adversarial"]) == 0
    found = results(out)
    assert found["clean"]["correct"] == found["examples"] == 9
    # an attack may take 4/255 from the right channel and give 4/255 to the others: 8 levels of 255, more than 132 has over 128
    assert found["white_box"]["correct"] == 6
    assert found["data"]["class_names"] == ["0-red", "1-green", "2-blue"]
    assert main([*command[: -len(ATTACKS)], "--verify", "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main(["report", str(out)]) == 0
    assert "0-red" in (out / "report.html").read_text()


def test_a_size_that_keeps_the_share_of_the_published_crop_is_said(photos: Path, recwarn: pytest.WarningsRecorder) -> None:
    parser = ArgumentParser(exit_on_error=False)
    add_task(parser)
    add_options(parser, "attacks")
    command = ["--model", "timm:test_resnet", "--weights", "w.pt", "--data-dir", str(photos), "--size", "32"]
    for options, said in (([], True), (["--resize", "32"], False)):
        recwarn.clear()
        with pytest.raises(InputError, match="w.pt"):  # said before anything is loaded
            load_task(parser.parse_args([*command, *options]), torch.device("cpu"))
        line = "--size 32: photos are resized to 33 pixels and their centre cropped, as is noted of timm:test_resnet; for weights "
        assert any(str(warning.message).startswith(line) for warning in recwarn) is said


def test_an_onnx_file(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    import onnx_graphs

    nodes = [("GlobalAveragePool", "x", "means", {}), ("Flatten", "means", "flat", {}), ("Mul", "flat twenty", "y", {})]
    onnx_graphs.write(tmp_path / "colours", nodes, {"twenty": np.array(20, dtype=np.float32)}, shape=("batch", 3, 16, 16))
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "--model", "onnx:colours", "--data-dir", str(photos), *ATTACKS[:2], "--budget", "5", "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "runs" / "colours" / "audit" / "results.json").read_text())
    counts = found["clean"]["correct"], found["reference"]["correct"], found["robust_accuracy"]["correct"]
    assert counts == (9, 6, 6)  # as above, on images of the file's size
    assert found["data"]["size"] == 16


def test_a_state_dict_in_a_network_of_one_s_own(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    torch.save(lp.models.SmallConvNet(classes=10, channels=1, size=8, width=4).state_dict(), tmp_path / "state.pt")
    (tmp_path / "nets.py").write_text(
        "from logitpair.models import SmallConvNet\n"
        "from torch import nn\n"
        "class Grey(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.net = SmallConvNet(width=4)\n"
        "    def forward(self, x):\n"
        "        print('a network that prints')\n"
        "        return self.net(x.mean(1, keepdim=True))[:, :3]\n"
    )
    state = {f"net.{name}": value for name, value in torch.load(tmp_path / "state.pt").items()}
    torch.save(state, tmp_path / "wrapped.pt")
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        model = ["--model", "nets:Grey", "--weights", "wrapped.pt", "--size", "8"]
        assert main(["evaluate", *model, "--data-dir", str(photos), "--out", str(out), *ATTACKS, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == results(out)
        assert results(out)["network"] == {"name": "nets:Grey", "weights": "wrapped.pt"}
        again = ["evaluate", *model, "--data-dir", str(photos), "--out", str(out), *ATTACKS]
        assert main([*again, "--mean", "0.5", "--std", "0.5"]) == 2
        assert "holds an evaluation of nets:Grey with --mean None" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*random ones")
def test_a_network_of_one_channel_that_views_its_images(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "viewing.py").write_text(
        "import torch\nclass View(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        x = x.view(x.size(0), 16 * 16)\n"
        "        return torch.stack([x[:, 0], x[:, 1], 0.5 + x[:, 2]], 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", "--model", "viewing.View", "--data-dir", str(photos), "--size", "16", "--out", "out", *ATTACKS, "--grey"]
    assert main(command) == 0
    found = results(tmp_path / "out")
    assert (found["clean"]["correct"], found["examples"], found["data"]["grey"]) == (3, 9, True)
    assert main(["report", "out"]) == 0
    assert "--grey --data-dir DIR" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give either a run directory or --model"),
        (["--model", "timm:resnet18", "run"], "not both"),
        (["--model", "nothing.ts"], "--attacks is not given"),
        (["--model", "nothing.ts", "--attacks", "fgsm_1"], "nothing.ts"),
        (["--model", "hf-hub:timm/resnet18", "--attacks", "fgsm_1"], "addresses are not fetched"),
        (["--model", "timm:hf-hub:timm/resnet18", "--attacks", "fgsm_1"], "addresses are not fetched"),
        (["run", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--model", "nothing.ts", "--data-dir="], "--data-dir: '' is empty; accepted: a value, or no --data-dir"),
        (["run", "--grey"], "--grey goes with --model"),
        (["run", "--resize", "32"], "--resize goes with --model"),
        (["--model", "nothing.ts", "--attacks", "fgsm_1", "--checkpoint", "last"], "--checkpoint goes with a run"),
        (["run", "--verify", "--source", "a=b"], "--source goes with attacking"),
        (["run", "--verify", "--attacks", "fgsm_1"], "--attacks goes with attacking"),
        (["run", "--verify", "--examples", "5"], "--examples goes with attacking"),
        (["run", "--verify", "--seed", "0"], "--seed goes with attacking"),
        (["run", "--verify", "--keep-adversarial"], "--keep-adversarial goes with attacking"),
        (["nowhere"], "RUN: no folder 'nowhere'"),
        (["run", "--batch-size", "0"], "--batch-size must be at least 1, not 0"),
        (["run", "--atacks", "fgsm_1"], "no option --atacks; did you mean --attacks?"),
        (["run", "--name", ""], "--name: '' is empty"),
        (["--model", "logitpair.models.LeNet", "--attacks", "fgsm_1", "--mean", "a,b", "--std", "1"], "--mean: 'a,b'"),
        (["--model", "logitpair.models.LeNet", "--attacks", "fgsm_1", "--data-dir", "nowhere"], "nowhere"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*random ones")
def test_bad_options_are_refused_in_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *options]) == 2
    message = capsys.readouterr().err.strip()
    assert said in message
    assert len(message.splitlines()) <= 2


@pytest.mark.filterwarnings("ignore:.*random ones")
def test_what_the_network_raises_later_is_one_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tired.py").write_text(
        "from torch import nn\n"
        "class Tired(nn.Module):\n"
        "    def forward(self, x):\n"
        "        if x.requires_grad and len(x) > 1:\n"
        "            raise KeyError('too\\nmuch')\n"
        "        return x.mean(dim=(2, 3))\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        command = ["evaluate", "--model", "tired:Tired", "--data-dir", str(photos), "--size", "8", "--out", str(tmp_path / "out"), *ATTACKS]
        assert main(command) == 2
        assert capsys.readouterr().err.splitlines()[-1] == r"logitpair: error: --model: tired:Tired raised KeyError: 'too\nmuch'"


def test_the_first_photos_of_some_classes_alone_are_warned_about(photos: Path) -> None:
    network, images = Network(name="colours"), lp.data.Photos(root=photos, size=8)
    given = {"device": torch.device("cpu"), "attacks": "fgsm_1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logitpair.runs.evaluation_task.read_model", lambda *_, **__: Colours())
        with pytest.warns(UserWarning, match="^--examples 4: only 2 of 3 classes are among the first 4 photos; they come in the order"):
            EvaluationTask.from_model(network, images, examples=4, **given)
        EvaluationTask.from_model(network, images, examples=7, **given)


def test_a_file_is_no_folder_for_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["evaluate", "--model", "a.ts", "--out", str(tmp_path / "file"), *ATTACKS]) == 2
    assert f"--out: '{tmp_path / 'file'}' is a file; accepted: a folder" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert f"--out: '{tmp_path}' is a folder; accepted: a file" in capsys.readouterr().err


def test_results_among_the_classes_are_refused(photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for data, out in ((photos, photos), (photos, photos / "results"), (Path(), None)):
        monkeypatch.chdir(photos)
        where = ["--out", str(out)] if out else []
        assert main(["evaluate", "--model", "logitpair.models.LeNet", "--attacks", "fgsm_1", "--data-dir", str(data), *where]) == 2
        assert "lies among the classes of --data-dir" in capsys.readouterr().err
