"""``logitpair report``"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.console import console
from logitpair.report import write_report

SUMMARY = "one self-contained HTML page of one or several runs"


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories that `logitpair evaluate` has been through")
    parser.add_argument("--out", type=Path | None, default=None, help="the page; RUN/report.html by default")


def run(arguments: Namespace) -> None:
    """Write the page."""
    out = arguments.out or arguments.runs[0] / "report.html"
    write_report(arguments.runs, out)
    console.print(f"Wrote {out}")
