"""The report: run directories to one self-contained HTML page. Reads files only, and imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from logitpair.errors import InputError
from logitpair.report.pages.run_page import render
from logitpair.report.records.run import load_run
from logitpair.storage.atomic_files import atomic_write


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Write one page about all the runs: a comparison, curves, images, settings, costs and the commands to repeat it.

    The page loads nothing, neither from the network nor from disk. A run that is not evaluated yet shows its training, and one
    that is given twice is shown once.

    Args:
        runs: run directories, in the order the page shows them.
        out: the HTML file.

    Raises:
        InputError: for no runs, a run with nothing to show, or a damaged file in one.
        OSError: if ``out`` cannot be written; it is then as it was.
    """
    if not runs:
        raise InputError("runs is empty; give at least one run directory")
    folders = {Path(run).resolve(): Path(run) for run in runs}
    atomic_write(out, render([load_run(folder) for folder in folders.values()], out))
