"""Commands that must fail."""

from __future__ import annotations

import pytest

from logitpair.cli.main import main


def failing(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """The one line on stderr of a command that must fail."""
    capsys.readouterr()
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]
