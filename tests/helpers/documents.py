"""The documents of the repository, and the blocks in them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w.-]+\.(?:py|yaml))\n")
ASSIGNMENT = re.compile(r"(\w+)=(\S*) ")


def text(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return BLOCK.findall(text(page))


def console_commands() -> list[str]:
    """Lines of all blocks whose commands take too long to be run, each once."""
    lines = [line for page in PAGES for language, block in blocks(page) if language == "console" for line in block.splitlines()]
    return list(dict.fromkeys(line.split("   #")[0].strip() for line in lines))


def run(page: str) -> None:
    """Run a page: Python blocks share their names, as in a notebook; a block that begins with a file's name is that file.

    Blocks marked ``python`` and ``sh`` are run; what is only to be read is marked ``py``, ``console`` or ``text``.
    """
    sys.path.insert(0, os.getcwd())
    names: dict[str, object] = {"__name__": "__main__"}
    for language, block in blocks(page):
        name = FILE_NAME.match(block)
        if name:
            Path(name[1]).write_text(block)
        elif language == "python":
            exec(compile(block, page, "exec"), names)  # noqa: S102
        elif language == "sh":
            for line in block.replace("\\\n", " ").splitlines():
                _run_line(line)


def _run_line(line: str) -> None:
    """Run a shell command: ``logitpair`` in this process, to save its start, and anything else by bash."""
    command = line
    while assigned := ASSIGNMENT.match(command):
        os.environ[assigned[1]] = assigned[2]
        command = command[assigned.end() :]
    from logitpair.cli.main import main

    program, *arguments = shlex.split(command, comments=True)
    print("$", line, flush=True)
    if program == "logitpair":
        assert main(arguments) == 0, line
    else:
        subprocess.run(["bash", "-euc", line], check=True)
