"""A histogram of values around 0 as geometry. ``histogram.svg.jinja`` draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from logitpair.report.figures.line_chart import BOTTOM, LEFT, RIGHT, TOP, Size, ticks

_BINS = 24  # about so many


@dataclass(frozen=True)
class Bin:
    """A column of the histogram: a CSS class, left edge, width, top and height, and what to tell about it."""

    style: str
    x: float
    width: float
    y: float
    height: float
    note: str


@dataclass(frozen=True)
class Histogram:
    """Everything the template draws, ``zero`` being where 0 is along x."""

    title: str
    description: str
    x_label: str
    width: float
    height: float
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    zero: float
    bins: tuple[Bin, ...]
    keys: tuple[tuple[str, str], ...]

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the plot's frame."""
        return LEFT, TOP, self.width - RIGHT, self.height - BOTTOM


def draw_histogram(
    values: np.ndarray, *, title: str, description: str, x_label: str, styles: Sequence[tuple[str, str]], size: Size
) -> Histogram:
    """Count the finite values in equal bins, of which 0 is always an edge, and lay the columns out.

    Args:
        values: at least one, in any shape; those that are no numbers are left out and counted in the description.
        title: what the chart is.
        description: what it shows, for those who cannot see it.
        x_label: what the values are.
        styles: CSS class and meaning of what is at most 0, and of what is above.
        size: of the drawing.
    """
    finite = values[np.isfinite(values)]
    width, height = size
    low, high = min(0.0, float(finite.min(initial=0))), max(0.0, float(finite.max(initial=0)))
    step = (high - low) / _BINS or 1.0
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), 1 if low == 0 else 0)
    places = np.ceil(finite / step - 1e-9).astype(int) - 1 - first  # a value of exactly 0 belongs to the bin below it
    counts = np.bincount(np.clip(places, 0, last - first - 1), minlength=last - first)
    y_ticks = ticks(float(counts.max()), 4, whole=True)
    y_end = max(y_ticks[-1], float(counts.max()))

    def across(value: float) -> float:
        return round(LEFT + (width - LEFT - RIGHT) * (value / step - first) / (last - first), 1)

    def down(count: float) -> float:
        return round(height - BOTTOM - (height - TOP - BOTTOM) * count / y_end, 1)

    bins = [
        Bin(
            style=styles[0 if number < 0 else 1][0],
            x=across(number * step),
            width=round(max(across((number + 1) * step) - across(number * step) - 1, 0.5), 1),
            y=down(count),
            height=round(height - BOTTOM - down(count), 1),
            note=f"{number * step:.3g} to {(number + 1) * step:.3g}: {count:,}",
        )
        for number, count in zip(range(first, last), map(int, counts), strict=True)
        if count
    ]
    missing = values.size - finite.size
    along = [-x for x in ticks(-low, 3)[:0:-1] if low < 0] + [0.0] + [x for x in ticks(high, 3)[1:] if high > 0]
    return Histogram(
        title=title,
        description=f"{description} {missing:,} values are no numbers." if missing else description,
        x_label=x_label,
        width=width,
        height=height,
        x_ticks=tuple((across(x), f"{x:g}".replace("-", "\N{MINUS SIGN}")) for x in along if first <= x / step <= last),
        y_ticks=tuple((down(y), f"{y:g}") for y in y_ticks),
        zero=across(0),
        bins=tuple(bins),
        keys=tuple(styles),
    )
