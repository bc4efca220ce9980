"""``logitpair report``"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options
from logitpair.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run directories that `logitpair evaluate` has been through, or folders of sweeps"
    )
    add_options(parser, "out", help="the page; RUN/report.html or SWEEP/sweep.html by default")


def run(arguments: Namespace) -> None:
    """Write the page."""
    sweeps = [run for run in arguments.runs if (run / "sweep.json").is_file()]
    if sweeps and sweeps != arguments.runs:
        raise InputError(f"RUN: {sweeps[0]} is a sweep, and not all of the others are; give runs or sweeps")
    if arguments.out is not None and arguments.out.is_dir():
        raise InputError(f"--out: '{arguments.out}' is a folder; accepted: a file, such as {arguments.out / 'report.html'}")
    from logitpair.report.pages.run_page import write_report
    from logitpair.report.pages.sweep_page import write_sweeps
    from logitpair.runtime.progress import console

    out = arguments.out or arguments.runs[0] / ("sweep.html" if sweeps else "report.html")
    if sweeps:
        write_sweeps(sweeps, out)
    else:
        write_report(arguments.runs, out)
    console.print(f"Wrote {out}")
