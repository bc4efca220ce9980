"""What ``logitpair reproduce`` takes and refuses, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from logitpair.cli.main import main
from logitpair.reproduction.paper import TARGETS


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["table12"], ["table12", "table1"]),
        (["table2", "--scale", "cpu"], ["--scale", "svhn-mpgd", "smoke"]),
        (["all", "--scale", "huge"], ["--scale", "huge", "smoke, cpu, paper"]),
        (["table1", "--seeds", "0"], ["--seeds", "at least 1"]),
        (["table1", "--jobs", "0"], ["--jobs", "at least 1"]),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], named: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *words, "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    assert all(word in line for word in named)
    assert not (tmp_path / "out").exists()


def test_all_is_what_has_the_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "all", "--scale", "cpu", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "imagenet-alp-resnet101/cpu/seed-0" in out
    assert "svhn" not in out
    assert main(["reproduce", *TARGETS, "--scale", "smoke", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "svhn-clp/smoke/seed-1" in capsys.readouterr().out
