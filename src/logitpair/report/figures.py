"""A chart as an SVG file of its own, with title and legend; those of one evaluation by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from logitpair.errors import InputError
from logitpair.report.attack_charts import attack_bars, restarts_chart, steps_chart
from logitpair.report.bars import Bars
from logitpair.report.chart import WIDE, Chart
from logitpair.report.page import templates
from logitpair.report.plots import eps_chart
from logitpair.report.records import Evaluation
from logitpair.report.text import reason


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


def figure(chart: Chart | Bars, title: str) -> str:
    """The chart with its title and legend as an SVG file of its own, its colours those of the page in the light."""
    style = Path(__file__).with_name("style.css").read_text()
    variables = dict(re.findall(r"--([\w-]+): ([^;]+);", style[: style.index("@media")]))
    names = re.findall(r"\.([\w-]+) \{ --c: var\(--([\w-]+)\); \}", style)
    colours = {name: variables[variable] for name, variable in names if variable in variables}
    if isinstance(chart, Bars):
        keys = [(style, meaning, False) for style, meaning in chart.keys]
    else:
        keys = [(line.style, line.label, line.dashed) for line in chart.lines if line.label]
    template = templates().get_template("figure.svg.jinja")
    return template.render(chart=chart, title=title, keys=keys, bars=isinstance(chart, Bars), colours=colours, variables=variables)
