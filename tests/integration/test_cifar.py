"""CIFAR-10 from its authors' archive to an exported network: real images, the recipe at its smallest scale."""

from __future__ import annotations

import json
from pathlib import Path

import commands
import numpy as np
import pytest
from cifar_archives import cifar10_archive, real_images
from PIL import Image

from logitpair.data import CIFAR10

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of 100 training and 100 test images in ``data``, the latter also in ``photos``, and a run trained on the former."""
    folder = tmp_path_factory.mktemp("cifar")
    images, labels = real_images()
    for part in ("data", "photos"):
        (folder / part).mkdir()
    cifar10_archive(folder / "data", images, labels, test=100)
    for number, (image, label) in enumerate(zip(images[100:], labels[100:], strict=True)):
        of_class = folder / "photos" / CIFAR10().classes[label]
        of_class.mkdir(exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(of_class / f"{number:03d}.png")
    done = commands.run(folder, "train", "cifar10-alp", "--scale", "smoke", "--epochs", "2", "--data-dir", "data", "--out", "run")
    assert done.code == 0, done.stderr
    return folder


def counts(path: Path) -> tuple[int, int]:
    """Correct on clean images, and under the worst attack."""
    results = json.loads(path.read_text())
    return results["clean"]["correct"], results["white_box"]["correct"]


def test_a_run_is_evaluated_audited_and_reported(folder: Path) -> None:
    for arguments in (
        ("evaluate", "run", "--examples", "20"),
        ("audit", "run", "--examples", "10", "--budget", "10"),
        ("report", "run"),
    ):
        done = commands.run(folder, *arguments)
        assert done.code == 0, done.stderr
    assert "CIFAR-10" in (folder / "run" / "report.html").read_text()


@pytest.mark.parametrize(("format", "name"), [("safetensors", "exported"), ("torch-export", "exported.pt2")])
def test_an_exported_network_gives_the_same_numbers(folder: Path, format: str, name: str) -> None:
    done = commands.run(folder, "export", "run", "--format", format)
    assert done.code == 0, done.stderr
    attack = ("--attacks", "bim_8_4_3")  # nothing in it is random: the photos come in another order than the archive's
    size = () if format == "safetensors" else ("--size", "32")
    evaluated = commands.run(folder, "evaluate", "run", *attack, "--name", format)
    again = commands.run(folder, "evaluate", "--model", f"run/{name}", *size, "--data-dir", "photos", *attack, "--out", f"again-{format}")
    assert (evaluated.code, again.code) == (0, 0), evaluated.stderr + again.stderr
    theirs = counts(folder / f"again-{format}" / "evaluation" / "test" / "results.json")
    assert counts(folder / "run" / "evaluation" / format / "results.json") == theirs
    assert np.unique(theirs).size == 2, "an attack that breaks nothing shows nothing"


def test_export_refuses_in_one_line(folder: Path) -> None:
    for arguments, message in (
        (("run", "--format", "keras"), "--format: 'keras' is not accepted; accepted: safetensors, torch-export, onnx, robustbench"),
        (("run", "--data-dir", "photos"), "Without the data set give --shape"),
        (("run", "--shape", "3x32"), "--shape: '3x32' is none"),
        (("nowhere",), "RUN: no folder 'nowhere'"),
    ):
        done = commands.run(folder, "export", *arguments)
        assert done.code == 2
        assert message in done.stderr
    assert commands.run(folder, "export", "run", "--shape", "3x32x32", "--out", "elsewhere").code == 0
