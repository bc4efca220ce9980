"""The documents do what they say: their Python and shell blocks run, their commands parse, their links lead somewhere."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from logitpair.cli.main import main as cli
from logitpair.config import recipes

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/library.md",
    "docs/defenses.md",
    "docs/evaluation.md",
    "docs/own-models.md",
    "docs/models.md",
    "docs/audit.md",
    "docs/data.md",
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w.-]+\.(?:py|yaml))\n")


def blocks(document: str) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return BLOCK.findall((ROOT / document).read_text())


def console_commands() -> list[str]:
    return [line for document in DOCUMENTS for language, text in blocks(document) if language == "console" for line in text.splitlines()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_run_in_order_in_a_fresh_folder(document: str, tmp_path: Path) -> None:
    # Python blocks share their names, as in a notebook; a block that begins with a file's name is that file.
    script = ["import subprocess"]
    for language, text in blocks(document):
        name = FILE_NAME.match(text)
        if name:
            (tmp_path / name[1]).write_text(text)
        elif language == "python":
            script.append(text)
        elif language == "sh":
            script.append(f"subprocess.run(['bash', '-euc', {text!r}], check=True)")
    assert len(script) > 1, f"{document} has no block to run"
    (tmp_path / "blocks.py").write_text("\n".join(script))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "blocks.py"],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("line", [line for line in console_commands() if line.startswith(("logitpair ", "torchrun "))])
def test_console_commands_parse(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = re.sub(r"^torchrun .*-m logitpair\.cli", "logitpair", line)
    program, name, *arguments = shlex.split(command, comments=True)
    assert program == "logitpair"
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command line replaces it
    monkeypatch.setattr(importlib.import_module(f"logitpair.commands.{name}"), "run", lambda arguments: None)
    assert cli.main([name, *arguments]) == 0, capsys.readouterr().err
    if name == "train":
        assert arguments[0] in recipes.names()


@pytest.mark.parametrize("line", [line for line in console_commands() if not line.startswith(("logitpair ", "torchrun "))])
def test_other_console_commands_name_what_exists(line: str) -> None:
    program, argument = line.split()[:2]
    if program == "make":
        assert re.search(rf"^{argument}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert os.access(ROOT / program, os.X_OK)


@pytest.mark.parametrize("document", sorted({*DOCUMENTS, "CHANGELOG.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))}))
def test_links_lead_somewhere(document: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text())
    missing = [target for target in targets if "://" not in target and not (ROOT / document).parent.joinpath(target).exists()]
    assert not missing
