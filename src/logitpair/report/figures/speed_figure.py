"""How long attacks take: bars of ``logitpair bench``, from what it recorded."""

import io
import statistics
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from logitpair.report.figures.plot import COLOURS, styled

OURS, ALONE = "logitpair", "network alone"  # as the names begin


@styled
def speed_figure(record: Mapping[str, Any]) -> bytes:
    """A PNG with a panel a case: the median as a bar, the fastest on top, and a line from the lowest time to the highest."""
    cases = record["cases"]
    figure = Figure(figsize=(10, 0.6 + 2.7 * len(cases)), layout="constrained")
    for axes, case in zip(figure.subplots(len(cases), squeeze=False)[:, 0], cases, strict=True):
        seconds = sorted(case["seconds"].items(), key=lambda item: -statistics.median(item[1]))
        names, times = [name for name, _ in seconds], [values for _, values in seconds]
        colours = [COLOURS["run-0" if name.startswith(OURS) else "soft" if name.startswith(ALONE) else "run-1"] for name in names]
        middle = [statistics.median(values) for values in times]
        spread = [[m - min(v) for m, v in zip(middle, times, strict=True)], [max(v) - m for m, v in zip(middle, times, strict=True)]]
        axes.barh(names, middle, color=colours, xerr=spread, ecolor=COLOURS["ink"])
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_title(f"{case['network']}, PGD-{case['steps']}, {case['batch_size']} images", loc="left", color=COLOURS["ink"])
        axes.set_xlabel(f"seconds on {record['hardware']['name']}")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=144)
    return file.getvalue()
