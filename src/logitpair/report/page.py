"""The page: everything the template shows, and the template filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from logitpair.report import text
from logitpair.report.images import gallery
from logitpair.report.load import Run
from logitpair.report.plots import STYLES, accuracy_curves, training_charts
from logitpair.report.reproduce import commands
from logitpair.report.summary import summarize

_HERE = Path(__file__).parent


def render(runs: Sequence[Run], out: Path) -> str:
    """The HTML of the page about the runs, to be written to ``out``."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
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
    return environment.get_template("page.html.jinja").render(
        runs=runs,
        evaluated=[run for run in runs if run.main],
        summary=summarize(runs),
        sources=list(dict.fromkeys(source for run in runs if run.main for source in run.main.black_box)),
        curves=accuracy_curves(runs),
        training_charts=training_charts,
        gallery=gallery,
        commands=commands(runs, out),
        styles=STYLES,
        css=Markup((_HERE / "style.css").read_text()),
    )
