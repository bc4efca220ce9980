"""What is printed where there is no terminal: tables, commands, and characters that an encoding lacks."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys

import pytest

from logitpair.cli.main import main
from logitpair.cli.terminal import print_next, print_rows
from logitpair.runtime.progress import WorkGoesOn, console


def test_a_table_in_a_file_is_as_wide_as_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(("check", "what was measured"), [("steps", "words " * 60), ("eps", "short")], title="a title")
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.strip() == "a title"
    assert len(lines) == 6, "a frame above, below and between, and each row on a line of its own"
    assert len(set(map(len, lines))) == 1
    assert len(lines[0]) == len("words " * 60) + len("check") + 7


def test_a_table_on_a_terminal_is_as_wide_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    for name, size in (("_width", 60), ("_height", 25)):  # what rich has found, also in a process without a terminal
        monkeypatch.setattr(console, name, size)
    print_rows(("check", "what was measured"), [("steps-and-restarts", "words " * 60)])
    assert max(map(len, terminal.getvalue().splitlines())) == 60
    assert "steps-and-restarts" in terminal.getvalue(), "no word is broken to make room for others"
    monkeypatch.setattr(console, "_width", 30)
    terminal.truncate(terminal.seek(0))
    print_rows(("check", "measured"), [("steps-and-restarts", "words " * 9), ("eps", "")], title="a title")
    shown = f"check: steps-and-restarts\nmeasured: {'words ' * 9}\n\ncheck: eps\nmeasured: \n"
    assert terminal.getvalue() == f"a title\n\n{shown}"


def test_paths_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    run = "my runs/[bold]a[/bold] :dog: $(date) it's"
    print_next("logitpair", "report", run)
    print_rows(("path",), [(run,)])
    console.print(f"Wrote {run}")
    first, *_, last = capsys.readouterr().out.splitlines()
    assert shlex.split(first.removeprefix("Next: ")) == ["logitpair", "report", run]
    assert last == f"Wrote {run}"


@pytest.mark.parametrize("encoding", ["ascii", "cp932"])
def test_what_the_encoding_lacks_is_replaced(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw := io.BytesIO(), encoding=encoding))
    assert main(["recipes"]) == 0
    print_rows(("path",), [("\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}",)], title="\N{MIDDLE DOT}")
    sys.stdout.flush()
    assert "digits-alp" in (text := raw.getvalue().decode(encoding))
    assert "?t?" in text


def test_a_command_ends_well_where_nobody_reads_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "logitpair", "recipes"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_results_reach_their_reader_where_nobody_reads_all_else(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    shown = WorkGoesOn()
    with open(writing, "w") as unread, contextlib.redirect_stdout(unread):
        shown.print("a line\n" * 10_000)  # more than a buffer holds
    shown.print("{}")
    assert capsys.readouterr().out == "{}\n"
