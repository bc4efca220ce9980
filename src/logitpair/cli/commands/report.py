"""``logitpair report``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_file
from logitpair.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run directories that `logitpair evaluate` has been through, or folders of sweeps"
    )
    add_options(parser, "out", help="the page; RUN/report.html or SWEEP/sweep.html by default")


def run(arguments: Namespace) -> None:
    """Write the page."""
    runs, out = arguments.runs, arguments.out
    sweeps = [run for run in runs if (run / "sweep.json").is_file()]
    if sweeps and sweeps != runs:
        raise InputError(f"RUN: {sweeps[0]} is a sweep, and not all of the others are; give runs or sweeps")
    check_file("--out", out, "report.html")
    from logitpair.cli.terminal import console
    from logitpair.report.pages.run_page import write_report
    from logitpair.report.pages.sweep_page import write_sweeps
    from logitpair.report.records import load_sweep, portable

    out = out or runs[0] / ("sweep.html" if sweeps else "report.html")
    if sweeps:
        write_sweeps([load_sweep(run) for run in runs], [portable(run) for run in runs], out)
    else:
        write_report(runs, out)
    console.print(f"Wrote {out}")
