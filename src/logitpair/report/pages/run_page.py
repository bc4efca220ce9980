"""The page: everything the template shows, and the template filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from logitpair.report.figures.audit_figures import accuracy_bars, convergence_chart, margin_histogram, radius_chart
from logitpair.report.figures.evaluation_figures import attack_bars, restarts_chart, steps_chart
from logitpair.report.figures.gallery import gallery
from logitpair.report.figures.line_chart import STYLES
from logitpair.report.figures.loss_landscape import scale, surfaces
from logitpair.report.figures.plots import accuracy_curves, training_charts
from logitpair.report.records.evaluation import Accuracy, Evaluation
from logitpair.report.records.run import Run
from logitpair.report.records.transfer_matrix import transfer
from logitpair.report.text import format as text
from logitpair.report.text.commands import commands
from logitpair.report.text.evaluation_summary import summarize
from logitpair.report.text.published import comparisons


def templates() -> Environment:
    """The folder's templates, which escape what they show, and the filters they use."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).with_name("templates"), Path(__file__).parents[1] / "figures" / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": text.percent,
        "radius": text.radius,
        "duration": text.duration,
        "listing": text.listing,
        "call": text.call,
        "class_name": text.class_name,
        "settings": text.settings_text,
    }
    return environment


def render(runs: Sequence[Run], out: Path) -> str:
    """The HTML of the page about the runs, to be written to ``out``."""
    template = templates().get_template("page.html.jinja")
    return template.render(
        runs=runs,
        evaluated=[run for run in runs if run.main],
        audited=[run for run in runs if run.audit],
        measured=[run for run in runs if run.main or run.audit],
        summary=summarize(runs),
        sources=_sources(runs),
        transfer=transfer(runs),
        curves=accuracy_curves(runs),
        radii=_radii([run.main for run in runs if run.main]),
        training_charts=training_charts,
        gallery=gallery,
        attack_bars=attack_bars,
        steps_chart=steps_chart,
        restarts_chart=restarts_chart,
        accuracy_bars=accuracy_bars,
        convergence_chart=convergence_chart,
        margin_histogram=margin_histogram,
        radius_chart=radius_chart,
        surfaces=surfaces,
        scale=scale,
        comparisons=comparisons,
        commands=commands(runs, out),
        styles=STYLES,
    )


def _sources(runs: Sequence[Run]) -> list[str]:
    """The network that black-box images were made on, where it is but one: several make the comparison too wide."""
    used = dict.fromkeys(source for run in runs if run.main for source in run.main.black_box)
    return list(used) if len(used) == 1 else []


def _radii(evaluations: Sequence[Evaluation]) -> list[tuple[float, list[Accuracy | None]]]:
    """The accuracy of every evaluation at every radius of the curves."""
    curves = [dict(evaluation.curve) for evaluation in evaluations]
    return [(eps, [curve.get(eps) for curve in curves]) for eps in sorted({eps for curve in curves for eps in curve})]
