"""A bar chart of accuracies as geometry, one bar below the other. ``bar_chart.svg.jinja`` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from logitpair.report.records.evaluation import Accuracy
from logitpair.report.text.format import interval, percent

LEFT, RIGHT, TOP, BOTTOM = 6.0, 16.0, 4.0, 24.0  # margins, in the drawing's unit
ROW, THICK = 38.0, 11.0  # a bar with the line of text above it, and the bar alone
_LETTER = 6.6  # width of one, on average


@dataclass(frozen=True)
class Bar:
    """A bar in the drawing.

    Args:
        label: what is measured, cut to what the drawing has room for.
        style: a CSS class that sets its colour.
        value: what to write at its end.
        note: all of it in words.
        y: upper edge.
        end: right edge.
        low, high: where its 95% interval begins and ends.
    """

    label: str
    style: str
    value: str
    note: str
    y: float
    end: float
    low: float
    high: float


@dataclass(frozen=True)
class Bars:
    """Everything the template draws.

    Args:
        title: what the chart is.
        description: what it shows, for those who cannot see it.
        width, height: of the drawing.
        x_ticks: place and text of each.
        keys: style and meaning of each colour, for the legend.
        bars: from the top.
    """

    title: str
    description: str
    width: float
    height: float
    x_ticks: tuple[tuple[float, str], ...]
    keys: tuple[tuple[str, str], ...]
    bars: tuple[Bar, ...]

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the plot's frame."""
        return LEFT, TOP, self.width - RIGHT, self.height - BOTTOM


def draw_bars(
    rows: Sequence[tuple[str, str, Accuracy]], *, title: str, description: str, keys: Sequence[tuple[str, str]], width: float
) -> Bars:
    """Lay the bars out from 0 to 1.

    Args:
        rows: label, style and accuracy of each bar.
        title: what the chart is.
        description: what it shows, for those who cannot see it.
        keys: style and meaning of each colour.
        width: of the drawing; its height is what the bars need.
    """

    def across(fraction: float) -> float:
        return round(LEFT + (width - LEFT - RIGHT) * fraction, 1)

    return Bars(
        title=title,
        description=description,
        width=width,
        height=TOP + ROW * len(rows) + 8 + BOTTOM,
        x_ticks=tuple((across(quarter / 4), f"{25 * quarter}%") for quarter in range(5)),
        keys=tuple(keys),
        bars=tuple(
            Bar(
                label=_shortened(label, int((width - LEFT - RIGHT) / _LETTER) - 8),
                style=style,
                value=percent(accuracy.top1),
                note=f"{label}: {percent(accuracy.top1)} ({interval(accuracy.low, accuracy.high)})",
                y=TOP + ROW * i + ROW - THICK,
                end=across(accuracy.top1),
                low=across(accuracy.low),
                high=across(accuracy.high),
            )
            for i, (label, style, accuracy) in enumerate(rows)
        ),
    )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
