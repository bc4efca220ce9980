"""`logitpair push`, to a server on this machine that answers as the Hugging Face hub does."""

from __future__ import annotations

import shutil
from pathlib import Path

import hub
import pytest
import torch
from command_line import failing

import logitpair as lp
from logitpair.cli.main import main
from logitpair.config import parsing, recipes
from logitpair.models import read_model


@pytest.fixture
def run(digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run in the current folder, evaluated on 20 images."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits_run, "run")
    assert main(["evaluate", "run", "--examples", "20", "--attacks", "fgsm_25.5"]) == 0
    return Path("run")


def test_what_was_pushed_is_read_from_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(3, 1, 8, 8)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with hub.serving(tmp_path / "hub", monkeypatch) as asked:
        assert main(["push", "run", "me/digits"]) == 0
        torch.testing.assert_close(read_model("hf:me/digits")(x), lp.load(run)(x))
    assert "/api/repos/create" in asked
    card = (tmp_path / "hub" / "me" / "digits" / "README.md").read_text()
    assert card == (run / "exported" / "README.md").read_text()
    for part in ("# me/digits", "| clean |", "| white box, fgsm_25.5 |", "Linf(eps=0.1)", "hf:me/digits", "logitpair train digits-plain"):
        assert part in card
    assert "hf_secret" not in card
    Path("again.yaml").write_text(card.partition("```yaml\n")[2].partition("```")[0])
    again, trained = (parsing.resolve(recipes.load(str(recipe)).run).values for recipe in ("again.yaml", run / "config.yaml"))
    assert again == trained


def test_a_dry_run_sends_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub.serving(tmp_path / "hub", monkeypatch) as asked:
        assert main(["push", "run", "me/digits", "--dry-run"]) == 0
    assert not asked
    assert sorted(path.name for path in (run / "exported").iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_results_of_other_weights_and_none_at_all_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    checkpoint["model"]["logits.bias"][0] += 1
    torch.save(checkpoint, run / "checkpoints" / "last.pt")
    assert "are of other weights than its checkpoint" in failing(capsys, "push", "run", "me/digits", "--dry-run")
    shutil.rmtree(run / "evaluation")
    assert "has no evaluation; run `logitpair evaluate run`" in failing(capsys, "push", "run", "me/digits", "--dry-run")
    assert not (run / "exported").exists()


def test_names_and_hubs_that_do_not_do_are_one_line(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    for name in ("digits", "me/", "me/digits/more"):
        assert "OWNER/NAME" in failing(capsys, "push", "run", name)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert "cannot push to 'me/digits'" in failing(capsys, "push", "run", "me/digits")
