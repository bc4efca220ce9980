"""A line chart as geometry: where in the drawing every line, band, tick and mark goes. ``line_chart.svg.jinja`` draws it.

Hand-made rather than by a plotting library, so that text and colours follow the page's own, in light and in dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]
Size = tuple[float, float]
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 12.0, 42.0  # margins, in the drawing's unit
STYLES = 6  # colours of lines in style.css; after these they begin again, dashed
WIDE, NARROW = (720.0, 390.0), (360.0, 300.0)  # drawn twice, so that the text has the same size on a phone
PANEL = (360.0, 270.0)  # one of several side by side


@dataclass(frozen=True)
class Series:
    """A line of the chart.

    Args:
        label: in the legend.
        style: a CSS class that sets its colour.
        points: ``(x, y)``.
        band: ``(low, high)`` at every point, if any.
        notes: what to tell about every point; with notes the points are drawn too.
        dashed: interrupt the line.
        joined: draw the line; without it only the points.
    """

    label: str
    style: str
    points: Sequence[Point]
    band: Sequence[Point] = ()
    notes: Sequence[str] = ()
    dashed: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Line:
    """A series in the drawing: SVG paths, and the points with their notes."""

    label: str
    style: str
    path: str
    band: str
    dots: tuple[tuple[float, float, str], ...]
    dashed: bool


@dataclass(frozen=True)
class Chart:
    """Everything the template draws."""

    title: str
    description: str
    x_label: str
    width: float
    height: float
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_mark: tuple[float, str] | None
    y_mark: tuple[float, str] | None
    lines: tuple[Line, ...]

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the plot's frame."""
        return LEFT, TOP, self.width - RIGHT, self.height - BOTTOM


def draw(
    series: Sequence[Series],
    *,
    title: str,
    description: str,
    x_label: str,
    width: float,
    height: float,
    top: float | None = None,
    write_y: Callable[[float], str] = "{:g}".format,
    x_mark: tuple[float, str] | None = None,
    y_mark: tuple[float, str] | None = None,
    x_counts: bool = False,
    categories: Sequence[str] = (),
) -> Chart:
    """Lay the series out; both axes begin at 0.

    Args:
        series: the lines, at least one point among them.
        title: what the chart is.
        description: what it shows, for those who cannot see it.
        x_label: what x is.
        width: of the drawing.
        height: of the drawing.
        top: the end of the y axis; what the data need without it.
        write_y: labels of the y axis.
        x_mark: an x to point out, and what to write there.
        y_mark: a y to point out, and what to write there.
        x_counts: x counts something, so that only whole numbers stand along it.
        categories: names along x instead of numbers, evenly spaced: the first one stands at 0.5, the next at 1.5, and so on.
    """
    points = [point for line in series for point in line.points]
    x_ticks = [(x, f"{x:g}") for x in ticks(max(x for x, _ in points), 8 if width > 500 else 5, whole=x_counts)]
    x_end = max(x_ticks[-1][0], max(x for x, _ in points))
    if categories:
        x_ticks, x_end = [(i + 0.5, name) for i, name in enumerate(categories)], float(len(categories))
    y_ticks = ticks(top or max(y for _, y in points), 5)
    y_end = top or max(y_ticks[-1], max(y for _, y in points))

    def place(x: float, y: float) -> Point:
        across, up = (width - LEFT - RIGHT) * x / x_end, (height - TOP - BOTTOM) * y / y_end
        return round(LEFT + across, 1), round(height - BOTTOM - up, 1)

    return Chart(
        title=title,
        description=description,
        x_label=x_label,
        width=width,
        height=height,
        x_ticks=tuple((place(x, 0)[0], label) for x, label in x_ticks),
        y_ticks=tuple((place(0, y)[1], write_y(y)) for y in y_ticks),
        x_mark=(place(x_mark[0], 0)[0], x_mark[1]) if x_mark else None,
        y_mark=(place(0, y_mark[0])[1], y_mark[1]) if y_mark else None,
        lines=tuple(_line(line, place) for line in series),
    )


def ticks(end: float, about: int, *, whole: bool = False) -> list[float]:
    """Round numbers, if need be ``whole`` ones, from 0 to the last before ``end`` or just beyond it, roughly ``about`` steps."""
    if not end > 0:
        return [0.0, 1.0]
    rough = max(end / about, 1.0 if whole else 0.0)
    magnitude = 10 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    step = next(factor * magnitude for factor in factors if factor * magnitude >= rough * 0.999)
    return [round(step * i, 12) for i in range(math.floor(end / step + 0.1) + 1)]


def _line(series: Series, place: Callable[[float, float], Point]) -> Line:
    places = [place(x, y) for x, y in series.points]
    xs = [x for x, _ in series.points]
    low = [place(x, low) for x, (low, _) in zip(xs, series.band, strict=False)]
    high = [place(x, high) for x, (_, high) in zip(xs, series.band, strict=False)]
    dots = tuple((x, y, note) for (x, y), note in zip(places, series.notes, strict=False))
    band = f"{_path(high + low[::-1])}Z" if low else ""
    return Line(series.label, series.style, _path(places) if series.joined else "", band, dots, series.dashed)


def _path(places: Sequence[Point]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
