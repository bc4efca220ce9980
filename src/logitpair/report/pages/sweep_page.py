"""The page about sweeps, and its chart as a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from logitpair.errors import InputError
from logitpair.report.figures.line_chart import NARROW
from logitpair.report.figures.standalone import figure
from logitpair.report.figures.sweep_figures import Reference, accuracy_chart
from logitpair.report.pages.run_page import templates
from logitpair.report.records.sweep import SweepRecord, load_sweep, settings_of, written
from logitpair.report.text.format import listing, percent
from logitpair.storage.atomic_files import atomic_write

CAUTION = (
    "Robust accuracy is only an upper bound: an image counts as withstood when the attack used here found no way to fool the network, and "
    "a stronger attack can only lower the number. A weight that wins here may only have made gradients useless to this attack. MNIST "
    "networks trained with clean logit pairing fell from 62.4% to 4.1% and with logit squeezing from 70.6% to 5.0% when the attack was "
    "made stronger (arXiv 1810.12042)."
)


def write_sweeps(folders: Sequence[Path], out: Path, references: Sequence[Reference] = (), title: str | None = None) -> list[Path]:
    """Write one page about the sweeps, and its chart beside it as SVG where a run is finished.

    Args:
        folders: that ``logitpair sweep`` wrote; those with axes must share the first one.
        out: the HTML file; the chart's name ends in ``.svg`` instead.
        references: accuracies from elsewhere to draw as levels.
        title: of page and chart; what the sweeps say without it.

    Returns:
        The files written.

    Raises:
        InputError: for no folder, a damaged ``sweep.json``, or sweeps over different settings.
    """
    if not folders:
        raise InputError("RUN: give at least one folder that `logitpair sweep` wrote")
    sweeps = [load_sweep(Path(folder)) for folder in folders]
    charts = [chart for chart in (accuracy_chart(sweeps, references), accuracy_chart(sweeps, references, size=NARROW)) if chart]
    title = title or _title(sweeps)
    environment = templates()
    environment.filters |= {"written": written, "settings_of": settings_of}
    page = environment.get_template("sweep.html.jinja").render(
        title=title, findings=[_finding(sweep) for sweep in sweeps], caution=CAUTION, charts=charts, sweeps=sweeps
    )
    files = {out: page} | ({out.with_suffix(".svg"): figure(charts[0], title)} if charts else {})
    for path, content in files.items():
        atomic_write(path, content)
    return list(files)


def _title(sweeps: Sequence[SweepRecord]) -> str:
    settings = list(dict.fromkeys(setting for sweep in sweeps for setting in sweep.axes))
    return f"{listing([sweep.name for sweep in sweeps])}: accuracy against {listing(settings)}" if settings else "Accuracy"


def _finding(sweep: SweepRecord) -> str:
    """The chosen point and what it keeps on test images."""
    point = sweep.chosen
    done = sum(run.status == "finished" for run in sweep.runs)
    state = f" {done} of {len(sweep.runs)} runs are finished." if done < len(sweep.runs) else ""
    held_out, clean, white_box = (point.spreads[m] if point else None for m in ("validation_white_box", "clean", "white_box"))
    if not (point and held_out and clean and white_box):
        return f"{sweep.name}: no point has all its runs finished.{state}"
    best = f"the best white-box accuracy on held-out images, {percent(held_out.mean)}, is at {settings_of(point.settings)}. There, "
    runs = f"mean of {point.runs} seeds" if point.runs > 1 else "one seed"
    images = listing([f"{count:,}" for count in sweep.images])
    return (
        f"{sweep.name}: {best if sweep.axes else ''}{percent(white_box.mean)} of {images} test images are classified correctly under "
        f"attack and {percent(clean.mean)} without ({runs}).{state}"
    )
