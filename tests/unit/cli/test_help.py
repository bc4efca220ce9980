"""``--help`` tells what a user may choose, without Python's types, and calls nothing required that a recipe gives."""

from __future__ import annotations

import re

import pytest

from logitpair.cli.main import main


def page(capsys: pytest.CaptureFixture[str], command: str) -> str:
    assert main([command, "--help"]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_settings(capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, "train")
    networks = re.search(r"--model MODEL the network.*?known subclasses: (.*?)\)", shown)
    assert networks
    assert {"logitpair.models.LeNet", "logitpair.models.Timm"} <= set(networks[1].split(", "))
    assert all(name.startswith("logitpair.models.") for name in networks[1].split(", "))
    assert "torch.optim.Adam," in shown
    assert "required" not in shown
    assert "[--epochs EPOCHS]" in shown
    assert "(by default the recipe's, type: float)" in shown
    assert "(type: int, default: 500)" in shown
    assert "(type: tuple[float, ...], default: ())" in shown


@pytest.mark.parametrize("command", ["train", "audit", "bench", "copy", "demo"])
def test_types_and_absent_defaults_are_left_out(capsys: pytest.CaptureFixture[str], command: str) -> None:
    shown = page(capsys, command)
    assert not re.search(r"null|<class|Union|Literal|Callable|default: False|\(\)(?!\))|\(,|required", shown)
