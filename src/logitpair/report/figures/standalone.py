"""A chart as an SVG file of its own, with title and legend; those of one evaluation or audit by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from logitpair.errors import InputError
from logitpair.report.figures.audit_figures import convergence_chart, margin_histogram, radius_chart
from logitpair.report.figures.bar_chart import Bars
from logitpair.report.figures.evaluation_figures import attack_bars, restarts_chart, steps_chart
from logitpair.report.figures.histogram import Histogram
from logitpair.report.figures.line_chart import WIDE, Chart
from logitpair.report.figures.loss_landscape import Surface, surfaces
from logitpair.report.figures.plots import eps_chart
from logitpair.report.pages.run_page import templates
from logitpair.report.records.audit import Audit
from logitpair.report.records.evaluation import Evaluation
from logitpair.report.text.format import reason


def plots(results: Mapping[str, Any]) -> dict[str, str]:
    """The drawings of an evaluation by name: ``attacks``, ``eps``, ``steps`` and ``restarts``, those that there is something to draw for.

    Args:
        results: the content of its ``results.json``.

    Raises:
        InputError: for damaged values.
    """
    try:
        evaluation = Evaluation.read(results, {})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"results: damaged or incomplete ({reason(error)})") from error
    charts = {
        "attacks": attack_bars(evaluation, width=WIDE[0]),
        "eps": eps_chart(evaluation),
        "steps": steps_chart(evaluation, size=WIDE),
        "restarts": restarts_chart(evaluation, size=WIDE),
    }
    return {name: figure(chart, f"{chart.title} ({evaluation.name})") for name, chart in charts.items() if chart}


def audit_plots(results: Mapping[str, Any], ledger: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """The drawings of an audit by name: ``convergence``, ``restarts``, ``eps`` and ``surfaces``, those that there is something to draw for.

    Args:
        results: the content of its ``results.json``.
        ledger: the content of its ``ledger.npz``.

    Raises:
        InputError: for damaged values.
    """
    try:
        audit = Audit.read(results, ledger)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"results: damaged or incomplete ({reason(error)})") from error
    charts = {
        "convergence": convergence_chart(audit, size=WIDE),
        "restarts": margin_histogram(audit, size=WIDE),
        "eps": radius_chart(audit, size=WIDE),
    }
    drawn = {name: figure(chart, f"{chart.title} ({audit.verdict})") for name, chart in charts.items() if chart}
    planes = surfaces(audit)
    return drawn | ({"surfaces": figure(planes, "Margin around images: above 0 misclassified")} if planes else {})


def figure(chart: Chart | Bars | Histogram | Sequence[Surface], title: str) -> str:
    """The chart, or charts side by side, with title and legend as an SVG file of its own, its colours those of the page in the light."""
    style = (Path(__file__).parents[1] / "pages" / "templates" / "style.css").read_text()
    variables = dict(re.findall(r"--([\w-]+): ([^;]+);", style[: style.index("@media")]))
    names = re.findall(r"\.([\w-]+) \{ --c: var\(--([\w-]+)\); \}", style)
    colours = {name: variables[variable] for name, variable in names if variable in variables}
    charts = [chart] if isinstance(chart, Chart | Bars | Histogram) else list(chart)
    template = templates().get_template("standalone.svg.jinja")
    return template.render(
        charts=charts, kind=type(charts[0]).__name__, title=title, keys=_keys(charts[0]), colours=colours, variables=variables
    )


def _keys(chart: Chart | Bars | Histogram | Surface) -> list[tuple[str, str, bool]]:
    """Style, meaning and whether it is dashed of each line of the legend."""
    if isinstance(chart, Chart):
        return [(line.style, line.label, line.dashed) for line in chart.lines if line.label]
    return [(style, meaning, False) for style, meaning in chart.keys]
