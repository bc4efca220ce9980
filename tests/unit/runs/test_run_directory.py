"""A run directory and the settings it was begun with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import logitpair as lp
from logitpair import InputError
from logitpair.cli.main import main
from logitpair.config import parsing, recipes
from logitpair.runs import TrainedRun, run_directory as runs
from logitpair.storage import checkpoint


def test_a_run_that_began_before_a_setting_was_there_resumes_with_its_default(tmp_path: Path) -> None:
    settings = parsing.resolve(recipes.load("digits-plain").run)
    runs.prepare(tmp_path / "run", "digits-plain", None, settings)
    path = tmp_path / "run" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    del content["run"]["fine_tuning"], content["run"]["seed"]
    path.write_text(yaml.safe_dump(content))
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "last.pt").touch()
    runs.prepare(tmp_path / "run", "digits-plain", None, settings)
    other = parsing.resolve(recipes.load("digits-plain").run, ["--fine_tuning.trainable", "[hidden]"])
    with pytest.raises(InputError, match="begun with fine_tuning.trainable"):
        runs.prepare(tmp_path / "run", "digits-plain", None, other)


def begun(run: Path) -> dict[str, Any]:
    """A run of digits-alp that has taken steps, and its settings."""
    runs.prepare(run, "digits-alp", None, parsing.resolve(recipes.load("digits-alp").run))
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").touch()
    return recipes.load("digits-alp").run


def test_what_does_not_touch_the_weights_may_change(tmp_path: Path) -> None:
    options = ["--workers", "2", "--activation_checkpointing", "true", "--accumulate", "4", "--evaluation.curve", "[0]"]
    settings = parsing.resolve(begun(tmp_path / "run"), options)
    runs.prepare(tmp_path / "run", "digits-alp", None, settings)
    assert runs.load_config(tmp_path / "run")[0]["run"] == settings.values


@pytest.mark.parametrize("changes", [("compile", "true"), ("batch_size", "32"), ("precision", "float32"), ("ema", "0.9")])
def test_what_touches_them_may_not(tmp_path: Path, changes: tuple[str, str]) -> None:
    settings = parsing.resolve(begun(tmp_path / "run"), [f"--{changes[0]}", changes[1]])
    with pytest.raises(InputError, match=f"--out: .* was begun with {changes[0]} = .*, now it is "):
        runs.prepare(tmp_path / "run", "digits-alp", None, settings)


def test_a_trained_network_is_read_when_needed_and_draws_no_random_numbers(tmp_path: Path) -> None:
    source = TrainedRun(tmp_path / "run")
    assert main(["train", "digits-plain", "--epochs", "0.1", "--validation.examples", "10", "--out", str(tmp_path / "run")]) == 0
    before = torch.get_rng_state()
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = source.to(x)(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(logits, lp.load(tmp_path / "run").double()(x))
    assert not any(parameter.requires_grad for parameter in source.parameters())


def test_workers_may_be_more_or_fewer_when_a_run_goes_on(tmp_path: Path) -> None:
    recipe = begun(tmp_path / "run")
    for workers in ("2", "3", "null"):
        runs.prepare(tmp_path / "run", "digits-alp", None, parsing.resolve(recipe, ["--elastic.workers", workers]))


@pytest.mark.filterwarnings("default:.*last.pt' is missing")
def test_a_run_without_its_last_checkpoint_goes_on_from_the_newest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train = ["train", "digits-plain", "--epochs", "0.15", "--validation.examples", "10", "--checkpoint_every", "2", "--out", str(run)]
    assert main(train) == 0
    trained = checkpoint.load(checkpoint.path_of(run))
    for name in ("training.json", "checkpoints/last.pt", f"checkpoints/step-{trained['step']:09d}.pt"):
        (run / name).unlink()
    caplog.set_level("INFO", "logitpair")
    assert main(train) == 0
    assert "last.pt' is missing; the newest checkpoint beside it, step-000000002.pt, takes its place" in capsys.readouterr().err
    assert "Resuming at step 2 of 3" in caplog.text
    again = checkpoint.load(checkpoint.path_of(run))
    assert all(torch.equal(again["model"][name], tensor) for name, tensor in trained["model"].items())


def test_a_run_is_evaluated_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = parsing.resolve(recipes.load("mnist-alp").run, data_dir=Path("mine"))
    runs.prepare(Path("run"), "mnist-alp", None, settings)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert runs.load_config(tmp_path / "run")[1].data.root == tmp_path / "mine"
    runs.prepare(tmp_path / "run", "mnist-alp", None, settings)
    assert runs.load_config(tmp_path / "run")[1].data.root == tmp_path / "elsewhere" / "mine"


def test_data_at_a_url_stay_where_they_are(tmp_path: Path) -> None:
    options = ["--data", "Shards", "--data.size", "32"]
    settings = parsing.resolve(recipes.load("folder-alp").run, options, data_dir=Path("s3://bucket/shards"))
    runs.prepare(tmp_path / "run", "folder-alp", None, settings)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["run"]["data"]["init_args"]["root"] == "s3://bucket/shards"


def test_a_run_may_be_begun_while_another_worker_writes_its_settings(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.half").touch()
    runs.prepare(tmp_path, "digits-plain", None, parsing.resolve(recipes.load("digits-plain").run))
    assert (tmp_path / "config.yaml").exists()


def test_files_are_the_same_by_any_path_and_names_on_a_hub_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "table").mkdir()
    (tmp_path / "w.pt").touch()
    recipe = recipes.load("digits-plain").run

    def settings(data: str, weights: str) -> parsing.Settings:
        changed = recipe | {"data": {"class_path": "logitpair.data.HuggingFace", "init_args": {"path": data}}}
        return parsing.resolve(changed, ["--fine_tuning.weights", weights])

    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    runs.prepare(run, "mine", None, settings("table", "w.pt"))
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert runs.load_config(run)[1].data.path == str(tmp_path / "table")
    runs.prepare(run, "mine", None, settings("../table", "../w.pt"))
    with pytest.raises(InputError, match=r"begun with data.init_args.path = .*/table, now it is ylecun/mnist;"):
        runs.prepare(run, "mine", None, settings("ylecun/mnist", "../w.pt"))


def test_a_config_that_was_cut_short_is_called_damaged_wherever_the_cut_is(tmp_path: Path) -> None:
    runs.prepare(tmp_path, "digits-plain", None, parsing.resolve(recipes.load("digits-plain").run))
    path = tmp_path / "config.yaml"
    content = path.read_text()
    lines = [end + 1 for end, letter in enumerate(content[:-1]) if letter == "\n"]  # after which what is left may be whole YAML
    classes = [match.end() for match in re.finditer("class_path:", content)]
    for end in (*range(0, len(content), 37), *lines[-12:], *classes[:2]):
        path.write_text(content[:end])
        with pytest.raises(InputError, match=f"^'?{path}'? (is damaged|is not YAML|cannot be read)"):
            runs.load_config(tmp_path)


def test_settings_that_are_the_same_are_not_written_again(tmp_path: Path) -> None:
    settings = parsing.resolve(recipes.load("digits-plain").run)
    runs.prepare(tmp_path, "digits-plain", None, settings)
    before = (tmp_path / "config.yaml").stat()
    runs.prepare(tmp_path, "digits-plain", None, settings)
    assert (tmp_path / "config.yaml").stat().st_ino == before.st_ino
    runs.prepare(tmp_path, "digits-plain", None, parsing.resolve(recipes.load("digits-plain").run, ["--workers", "1"]))
    assert (tmp_path / "config.yaml").stat().st_ino != before.st_ino


def test_a_setting_that_is_refused_is_that_of_the_file_that_holds_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = parsing.resolve(begun(run))
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("  seed: 0\n", "  seed: -1\n"))
    for reading in (lambda: runs.load_config(run), lambda: runs.prepare(run, "digits-alp", None, settings)):
        with pytest.raises(InputError, match="^'.*config.yaml': seed must be a whole number of at least 0, not -1$"):
            reading()
    with pytest.raises(InputError, match="^--data-dir: "):
        runs.load_config(run, data_dir=tmp_path)
    path.write_text(path.read_text().replace("recipe: digits-alp", "recipe: 12"))
    with pytest.raises(InputError, match="config.yaml' is damaged or not the config of a run"):
        runs.load_config(run)


def test_a_recipe_may_be_called_like_a_number(tmp_path: Path) -> None:
    runs.prepare(tmp_path / "run", "1e3", None, parsing.resolve(recipes.load("digits-plain").run))
    assert runs.load_config(tmp_path / "run")[0]["recipe"] == "1e3"
