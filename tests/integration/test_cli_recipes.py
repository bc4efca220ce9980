"""`logitpair recipes`."""

from __future__ import annotations

from pathlib import Path

import pytest

from logitpair.cli.main import main
from logitpair.config import recipes


def test_recipes_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in recipes.names())


def test_a_recipe_is_printed_whole_and_is_one_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["recipes", "mnist-mpgd"]) == 0
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    printed, own = recipes.load(str(tmp_path / "mine.yaml")), recipes.load("mnist-mpgd")
    assert "like" not in recipes.read_yaml(tmp_path / "mine.yaml")
    assert (printed.about, printed.run, printed.scales) == (own.about, own.run, own.scales)
