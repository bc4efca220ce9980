"""`logitpair train` and bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import failing

from logitpair.cli.main import main

PICKY = """
from torch import nn
from logitpair import InputError
from logitpair.attacks import LeastLikely

class Picky(LeastLikely):
    def __init__(self) -> None:
        raise InputError("rank must be at least 2")

class Short(nn.Module):
    def __init__(self) -> None:
        [][0]
"""


def test_unknown_recipe_gives_near_matches(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = failing(capsys, "train", "digits-apl", "--out", str(tmp_path / "run"))
    assert "digits-apl" in line
    assert "digits-alp" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objective.attack.threat.eps", "-0.1"], ["eps", "-0.1", "at least 0"]),
        (["--objective.attack.step_size", "0"], ["step_size", "above 0"]),
        (["--objective.attack.steps", "0"], ["steps", "at least 1"]),
        (["--objective.attack.steps", "many"], ["steps", "many"]),
        (["--objective.attack.restarts", "0"], ["restarts", "at least 1"]),
        (["--objective.weight", "-1"], ["weight", "-1"]),
        (["--objective.clean_weight", "1"], ["clean_weight", "[0, 1)"]),
        (["--batch_size", "0"], ["batch_size", "at least 1"]),
        (["--epochs", "0"], ["epochs", "above 0"]),
        (["--ema", "1.5"], ["ema", "1.5"]),
        (["--precision", "int8"], ["precision", "int8", "float32"]),
        (["--scale", "huge"], ["--scale", "huge", "accepted"]),
        (["--device", "tpu"], ["--device", "tpu", "accepted"]),
        (["--model.classes", "7"], ["model", "7 logits", "10 classes"]),
        (["--model", "logitpair.models.Nothing"], ["model", "Nothing"]),
        (["--no-such-option", "1"], ["no-such-option"]),
        (["--objective.attack.step_size", "1/0"], ["1/0", "zero"]),
        (["--schedule.warmup", "-1"], ["warmup", "-1"]),
        (["--validation.examples", "0"], ["validation.examples", "at least 1"]),
        (["--seed", "x"], ["seed", "x"]),
        (["--model.width", "-1"], ["model: width", "at least 1", "-1"]),
        (["--model", "picky.Short"], ["model: raised IndexError", "see --model"]),
        (["--optimizer.lr", "-1"], ["optimizer: ", "-1", "see --optimizer"]),
        (["--optimizer", "logitpair.optim.RMSProp", "--optimizer.lr", "-1"], ["error: optimizer.lr must be above 0, not -1"]),
        (["--fine_tuning.trainable", '["head"]'], ["fine_tuning.trainable", "head", "conv1.weight"]),
        (["--objective.attack.target.class_path", "picky.Picky"], ["rank must be at least 2"]),
    ],
)
def test_bad_settings_are_one_line_that_names_the_option_and_the_value(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: list[str]
) -> None:
    (tmp_path / "picky.py").write_text(PICKY)
    monkeypatch.syspath_prepend(tmp_path)
    line = failing(capsys, "train", "digits-alp", "--out", str(tmp_path / "run"), *options)
    assert all(part in line for part in message), line
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, "recipe: {recipe}: model: No module named 'own_net'; install it, or put its folder on PYTHONPATH"),
        ("class Net(", "raised SyntaxError: '(' was never closed"),
        ("class Net(nn.Module): ...", "raised NameError: name 'nn' is not defined"),
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("raise KeyError('key')", "raised KeyError: 'key'"),
        ("raise SystemExit(0)", "code of a network, a data set or a library ended the program (raised SystemExit: 0)"),
    ],
)
def test_a_class_whose_file_cannot_be_imported_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str | None, said: str
) -> None:
    if code is not None:
        (tmp_path / "own_net.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("like: digits-plain\nrun: {model: {class_path: own_net.Net}}\n")
    assert said.format(recipe=recipe) in failing(capsys, "train", str(recipe), "--out", str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("{epochz: 3}", "epochz: there is no such setting; accepted: data, model, "),
        ("{out: elsewhere}", "out: there is no such setting; accepted: data, model, "),
        ("{decay_all: }", "decay_all: expected true or false, not empty or null"),
    ],
)
@pytest.mark.parametrize("command", ["train", "plan"])
def test_what_a_recipe_says_is_refused_by_its_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, run: str, said: str, command: str
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"like: digits-plain\nrun: {run}\n")
    line = failing(capsys, command, str(recipe), "--epochs", "0.1")
    assert line.startswith(f"logitpair: error: recipe: {recipe}: {said}")


def test_a_run_s_config_trains_at_the_scale_that_it_is_of(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert main(["train", "digits-plain", "--scale", "smoke", "--epochs", "0.1", "--out", str(one)]) == 0
    assert main(["train", str(one / "config.yaml"), "--out", str(other)]) == 0
    assert (other / "config.yaml").read_text() == (one / "config.yaml").read_text()


def test_train_without_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert "recipe" in failing(capsys, "train")


def test_a_data_folder_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = failing(capsys, "train", "folder-alp", "--data-dir", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"))
    assert "--data-dir" in line
    assert "nowhere" in line


def test_an_output_folder_that_holds_something_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    line = failing(capsys, "train", "digits-plain", "--out", str(tmp_path))
    assert "--out" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["", "run: 5", "[]", "run: {", "seed: 1"])
def test_an_output_folder_whose_config_is_damaged(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    assert "config.yaml" in failing(capsys, "train", "digits-plain", "--out", str(tmp_path))
    assert (tmp_path / "config.yaml").read_text() == content
    assert "config.yaml" in failing(capsys, "evaluate", str(tmp_path))


def test_an_output_folder_that_cannot_be_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "file" in failing(capsys, "train", "digits-plain", "--out", str(tmp_path / "file" / "run"))


def test_a_mistaken_first_try_may_be_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--out", str(tmp_path / "run"), "--scale", "smoke", "--epochs", "0.1")
    assert "7 logits for 10 classes of digits (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)" in failing(
        capsys, "train", "digits-plain", *options, "--model.classes", "7"
    )
    assert main(["train", "digits-plain", *options]) == 0


def test_a_folder_for_data_that_come_with_the_package(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = failing(capsys, "train", "digits-plain", "--data-dir", "nowhere", "--out", str(tmp_path / "run"))
    assert "--data-dir" in line
    assert "'nowhere'" in line
