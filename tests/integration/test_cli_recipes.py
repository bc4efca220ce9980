"""`logitpair recipes`."""

from __future__ import annotations

import pytest

from logitpair.cli.main import main
from logitpair.config import recipes


def test_recipes_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in recipes.names())
