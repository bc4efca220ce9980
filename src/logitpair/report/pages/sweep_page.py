"""The page about sweeps, and its figure as a file of its own."""

from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

from markupsafe import Markup

from logitpair.report.figures.plot import NARROW, WIDE, svg_file
from logitpair.report.figures.sweep_figures import Reference, sweep_plot
from logitpair.report.pages.elements import DASH, DOT, details, facts, measured, page, section, table, text, wide_plot, with_soft
from logitpair.report.records import best_point
from logitpair.report.text.format import call, duration, listing, pairs, percent, point_text, span, value_text
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import Spread, SweepResults, SweepRun

CAUTION = (
    "Robust accuracy is only an upper bound: an image counts as robust when the attack used here found no way to fool the network, and "
    "a stronger attack can only lower the number. A weight that wins here may only have made gradients useless to this attack. MNIST "
    "networks trained with clean logit pairing fell from 62.4% to 4.1% and with logit squeezing from 70.6% to 5.0% when the attack was "
    "made stronger (arXiv 1810.12042)."
)
_MEASURES = ["Held out|clean", "Held out|white box", "Test|clean", "Test|white box"]


def write_sweeps(
    sweeps: Sequence[SweepResults],
    names: Sequence[str],
    out: Path,
    references: Sequence[Reference] = (),
    title: str | None = None,
    notes: Sequence[str] = (),
    more: Sequence[Markup] = (),
) -> list[Path]:
    """Write one page about sweeps over the same setting and, where a run is finished, its figure beside it as SVG. Returns the files.

    ``names`` are of their folders, ``notes`` come before what was found, and ``more`` sections after those of the sweeps.
    """
    title = title or _title(sweeps)
    plots = [plot for size in (WIDE, NARROW) if (plot := sweep_plot(sweeps, references, size=size))]
    note = (
        "Test images. A point is a run, the line joins the means over the seeds, and the band reaches from the lowest seed to the highest."
    )
    curve = [section("curve", plots[0].title, wide_plot(plots, note))] if plots else []
    sections = [_section(i, sweep, name) for i, (sweep, name) in enumerate(zip(sweeps, names, strict=True), 1)]
    files = {out: page("Sweep", title, [*notes, *map(finding, sweeps)], CAUTION, *curve, *sections, *more)}
    if plot := sweep_plot(sweeps, references):
        files[out.with_suffix(".svg")] = svg_file(plot.titled(title))
    for path, content in files.items():
        atomic_write(path, content)
    return list(files)


def _title(sweeps: Sequence[SweepResults]) -> str:
    settings = list(dict.fromkeys(axis.setting for sweep in sweeps for axis in sweep.axes))
    return f"{listing([sweep.recipe for sweep in sweeps])}: accuracy against {listing(settings)}" if settings else "Accuracy"


def _section(number: int, sweep: SweepResults, folder: str) -> Markup:
    points: list[list[str]] = []
    for point in sweep.points:
        values = list(map(value_text, point.settings.values()))
        if len(sweep.points) > 1 and point == best_point(sweep):
            values[0] += f"{DOT}chosen"
        spreads = (point.validation_clean, point.validation_white_box, point.clean, point.white_box)
        points.append([*values, f"{point.finished} of {point.runs}", *map(_spread, spreads)])
    overrides, seeds = point_text(sweep.overrides), ", ".join(map(str, sweep.seeds))
    attacks = dict.fromkeys(f"{run.white_box.attack}: {call(run.white_box.parameters)}" for run in sweep.runs if run.white_box)
    hardware = dict.fromkeys(pairs(run.hardware) for run in sweep.runs if run.hardware)
    note = (
        "Mean over the finished runs, and from the lowest to the highest. “Held out” are training images that no run trained on; a point "
        "is chosen by its white-box accuracy on them, never by test images."
    )
    return section(
        f"sweep-{number}",
        sweep.recipe,
        text(DOT.join(words for words in (f"scale {sweep.scale}", overrides, f"seeds {seeds}") if words)),
        table(sweep.recipe, [*(axis.setting for axis in sweep.axes), "Runs", *_MEASURES], points),
        text(note),
        details(
            "Every run",
            table(f"Every run of {sweep.recipe}", ["Run", *_MEASURES, "Time"], map(_run, sweep.runs)),
            facts([*zip(repeat("White-box attack"), attacks), *zip(repeat("Trained on"), hardware), ("Folder", folder)]),
        ),
        style="run",
    )


def _run(run: SweepRun) -> list[str]:
    if not run.seconds:
        return [run.path, *[DASH] * 4, run.status + (f": {run.message}" if run.message else "")]
    held_out = [DASH if value is None else percent(value) for value in (run.validation_clean, run.validation_white_box)]
    return [run.path, *held_out, measured(run.clean), measured(run.white_box), duration(run.seconds.training + run.seconds.evaluation)]


def _spread(spread: Spread | None) -> str:
    if not spread:
        return DASH
    return percent(spread.mean) if spread.min == spread.max else with_soft(percent(spread.mean), span((spread.min, spread.max)))


def finding(sweep: SweepResults) -> str:
    """The chosen point and its accuracy on test images."""
    point, done = best_point(sweep), sum(run.status == "finished" for run in sweep.runs)
    state = f" {done} of {len(sweep.runs)} runs are finished." if done < len(sweep.runs) else ""
    if not (point and point.validation_white_box and point.clean and point.white_box):
        return f"{sweep.recipe}: no point has all its runs finished.{state}"
    held_out = percent(point.validation_white_box.mean)
    best = f"the best white-box accuracy on held-out images, {held_out}, is at {point_text(point.settings)}. There, " if sweep.axes else ""
    images = listing(list(dict.fromkeys(f"{run.white_box.total:,}" for run in sweep.runs if run.white_box)))
    return (
        f"{sweep.recipe}: {best}{percent(point.white_box.mean)} of {images} test images are classified correctly under attack and "
        f"{percent(point.clean.mean)} without ({f'mean of {point.runs} seeds' if point.runs > 1 else 'one seed'}).{state}"
    )
