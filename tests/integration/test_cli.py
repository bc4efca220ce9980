"""The command line: recipes, and what bad input leads to."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import logitpair as lp
from logitpair.cli.main import COMMANDS, main
from logitpair.config import recipes
from logitpair.config.run_config import RunConfig

PICKY = """
from logitpair import InputError
from logitpair.attacks import LeastLikely

class Picky(LeastLikely):
    def __init__(self) -> None:
        raise InputError("rank must be at least 2")
"""
EVERY_SCALE = [(name, scale) for name in recipes.names() for scale in dict.fromkeys(["paper", *recipes.load(name).scales])]


def failing(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """The one line on stderr of a command that must fail."""
    capsys.readouterr()
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]


@pytest.mark.parametrize(("name", "scale"), EVERY_SCALE)
def test_every_recipe_parses_at_every_scale(name: str, scale: str) -> None:
    config = recipes.resolve(recipes.load(name).at_scale(scale)).config
    assert isinstance(config, RunConfig)
    assert config.evaluation.attacks


@pytest.mark.parametrize("name", recipes.names())
def test_a_resolved_recipe_resolves_to_itself(name: str) -> None:
    import yaml

    settings = recipes.resolve(recipes.load(name).run)
    again = recipes.resolve(yaml.safe_load(settings.text))
    assert again.text == settings.text
    if "sources:" not in settings.text:  # networks are equal only to themselves
        assert again.config.objective == settings.config.objective
    assert again.config.evaluation == settings.config.evaluation


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_says_what_it_is(name: str) -> None:
    assert recipes.load(name).about["summary"]


def test_recipes_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in recipes.names())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"]])
def test_help_and_version(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("logitpair 0." if arguments == ["--version"] else "usage: logitpair")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"logitpair {command}" in capsys.readouterr().out


def test_unknown_recipe_gives_near_matches(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = failing(capsys, "train", "digits-apl", "--out", str(tmp_path / "run"))
    assert "digits-apl" in line
    assert "digits-alp" in line
    assert not (tmp_path / "run").exists()


def test_unknown_command_gives_a_near_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean train?" in failing(capsys, "trian")
    assert all(command in failing(capsys, "zzz") for command in COMMANDS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objective.attack.threat.eps", "-0.1"], ["eps", "-0.1", "at least 0"]),
        (["--objective.attack.step_size", "0"], ["step_size", "above 0"]),
        (["--objective.attack.steps", "0"], ["steps", "at least 1"]),
        (["--objective.attack.steps", "many"], ["steps", "many"]),
        (["--objective.attack.restarts", "0"], ["restarts", "at least 1"]),
        (["--objective.weight", "-1"], ["weight", "-1"]),
        (["--objective.clean_weight", "1"], ["clean_weight", "below 1"]),
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
        (["--model.width", "-1"], ["-1", "see --model"]),
        (["--fine_tuning.trainable", '["head"]'], ["fine_tuning.trainable", "head", "conv1.weight"]),
        (["--objective.attack.target.class_path", "picky.Picky"], ["rank must be at least 2"]),
    ],
)
def test_bad_settings_are_one_line_that_names_the_option_and_the_value(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: list[str]
) -> None:
    (tmp_path / "picky.py").write_text(PICKY)
    monkeypatch.syspath_prepend(tmp_path)
    line = failing(capsys, "train", "digits-alp", "--out", str(tmp_path / "run"), *options)
    assert all(part in line for part in said), line
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_train_without_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert "recipe" in failing(capsys, "train")


@pytest.mark.parametrize("content", ["", "- a list", "about: {summary: x}", "run: [1]", "run: {", "\x00"])
def test_a_file_that_is_no_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    assert "mine.yaml" in failing(capsys, "train", str(path), "--out", str(tmp_path / "run"))


def test_a_recipe_file_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nowhere.yaml" in failing(capsys, "train", str(tmp_path / "nowhere.yaml"))


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "RUN: no folder"),
        (["--source", "copy"], "NAME=RUN"),
        (["--source", "white_box=run"], "--source: 'white_box' cannot be"),
        (["--source", "a=run", "--source", "a=other"], "--source: 'a' names 2 runs"),
        (["--checkpoint", "first"], "accepted: last, best"),
        (["--examples", "0"], "--examples"),
        (["--examples", "-3"], "--examples"),
        (["--device", "tpu"], "--device"),
        (["--seed", "x"], "seed"),
    ],
)
def test_bad_options_of_evaluate(capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], said: str) -> None:
    run = tmp_path / "nowhere"
    assert said in failing(capsys, "evaluate", str(run), *options)


def test_fractions_are_numbers_everywhere(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    text = (recipes.FOLDER / "digits-mpgd.yaml").read_text()
    recipe.write_text(text.replace("eps: 0.2", "eps: 8/255"))
    assert recipes.resolve(recipes.load(str(recipe)).run).config.objective.attack.threat.eps == 8 / 255
    from logitpair.cli.main import _with_numbers

    assert _with_numbers(["--attack.eps", "8/255"]) == ["--attack.eps", str(8 / 255)]
    assert _with_numbers(["--attack.eps=8/255", "--out", "1/2", "3/4"]) == [f"--attack.eps={8 / 255}", "--out", "1/2", "3/4"]


def test_a_mistaken_first_try_may_be_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--out", str(tmp_path / "run"), "--scale", "smoke", "--epochs", "0.1")
    assert "7 logits for 10 classes" in failing(capsys, "train", "digits-plain", *options, "--model.classes", "7")
    assert main(["train", "digits-plain", *options]) == 0


def test_the_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGITPAIR_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no command"):
        main(["zzz"])


def test_evaluate_takes_attacks_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["train", "digits-plain", "--epochs", "0.2", "--validation.examples", "10", "--out", run]) == 0
    assert main(["evaluate", run, "--examples", "20", "--attacks", "paper", "--name", "paper"]) == 0
    results = json.loads((tmp_path / "run" / "evaluation" / "paper" / "results.json").read_text())
    assert set(results["attacks"]) == set(lp.attacks.paper_suite(eps=0.1, step_size=0.1, steps=1))
    sizes = results["attacks"]["pgd_ll"]["parameters"]["init_args"]
    assert (sizes["threat"]["init_args"]["eps"], sizes["steps"]) == (0.2, 40), "those of the recipe's attack"
    assert "--attacks: 'pgd': no such attack; accepted" in failing(capsys, "evaluate", run, "--attacks", "pgd")
    settings = {"threat": {"eps": 0.1}, "step_size": 0.1, "steps": 1, "loss": "os.system"}
    (tmp_path / "mine.yaml").write_text(json.dumps({"mine": {"class_path": "logitpair.attacks.PGD", "init_args": settings}}))
    line = failing(capsys, "evaluate", run, "--attacks", str(tmp_path / "mine.yaml"), "--examples", "20", "--name", "mine")
    assert "error: attacks: mine: loss: " in line
    assert "system cannot be called with logits and labels" in line


def test_a_folder_for_data_that_come_with_the_package(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = failing(capsys, "train", "digits-plain", "--data-dir", "nowhere", "--out", str(tmp_path / "run"))
    assert "--data-dir" in line
    assert "'nowhere'" in line


def test_ctrl_c_while_the_package_is_imported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import logitpair_command

    class Interrupted:
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "logitpair.cli.main", Interrupted())
    assert logitpair_command.main() == 130
    assert capsys.readouterr().err == "logitpair: interrupted; nothing was begun\n"
