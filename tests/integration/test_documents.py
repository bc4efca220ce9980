"""The documents do what they say: their Python and shell blocks run, in a fresh folder each, and their other commands parse."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import warnings
from pathlib import Path

import commands
import documents
import pytest

from logitpair.cli.main import main as cli
from logitpair.config import recipes

RUN = [page for page in documents.PAGES if {"python", "sh"} & {language for language, _ in documents.blocks(page)}]
SLOW = ("docs/how-to/audit.md", "docs/how-to/own-models.md", "docs/how-to/certify.md")


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.slow] * (page in SLOW)) for page in RUN])
def test_blocks_run_in_order_in_a_fresh_folder(page: str, tmp_path: Path) -> None:
    done = commands.call(tmp_path, documents.run, page).wait(300)
    assert done.code == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("line", [line for line in documents.console_commands() if line.startswith(("logitpair ", "torchrun "))])
def test_console_commands_parse(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    program, name, *arguments = shlex.split(re.sub(r"^torchrun .*-m logitpair ", "logitpair ", line))
    assert program == "logitpair"
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command line replaces it
    monkeypatch.setattr(importlib.import_module(f"logitpair.cli.commands.{name}"), "run", lambda arguments: None)
    assert cli([name, *arguments]) == 0, capsys.readouterr().err
    if name == "train":
        assert arguments[0] in recipes.names()


@pytest.mark.parametrize("line", [line for line in documents.console_commands() if not line.startswith(("logitpair ", "torchrun "))])
def test_other_console_commands_name_what_exists(line: str) -> None:
    program, argument = line.split()[:2]
    if program == "make":
        assert re.search(rf"^{argument}:", documents.text("Makefile"), re.MULTILINE)
    else:
        assert os.access(documents.ROOT / program, os.X_OK)
