"""The margin on a plane around an image as a small heat map. ``loss_landscape.svg.jinja`` draws it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from logitpair.report.records.audit import Audit, Numbers
from logitpair.report.text.format import percent, radius

WIDTH, LEFT, TOP, BOTTOM = 230.0, 26.0, 10.0, 42.0  # of a drawing, and its margins
RIGHT = 8.0
LEVELS = 12  # strengths of each of the two colours
_USUAL = 98  # percent of the values that the scale spans; a few peaks would leave the rest without colour
_SIDES = ((0, 0), (0, 1), (1, 1), (1, 0))  # corners of a square in turn, (row, column)
Crossing = tuple[float, float]


@dataclass(frozen=True)
class Patch:
    """All squares of one colour: a CSS class, its opacity and an SVG path."""

    style: str
    opacity: float
    path: str


@dataclass(frozen=True)
class Surface:
    """Everything the template draws.

    Args:
        title: what the drawing is.
        description: what it shows, for those who cannot see it.
        caption: which image it is about.
        patches: the colours, in units of the grid's squares.
        contour: an SVG path along which the margin is 0, in the same unit; empty where it never is.
        squares: of a side.
        eps: the ends of both axes, in words.
    """

    title: str
    description: str
    caption: str
    patches: tuple[Patch, ...]
    contour: str
    squares: tuple[int, int]
    eps: str
    width: float = WIDTH
    height: float = WIDTH - LEFT - RIGHT + TOP + BOTTOM

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Style and meaning of each colour; the stronger, the clearer the answer."""
        return ("withstood", "right"), ("broken", "misclassified")

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the plane."""
        return LEFT, TOP, self.width - RIGHT, self.height - BOTTOM


@dataclass(frozen=True)
class Scale:
    """The opacity of each strength, from weak to strong, and the margin at which the strongest begins."""

    opacities: tuple[float, ...]
    end: float


def surfaces(audit: Audit) -> list[Surface]:
    """A drawing of each plane, all in the same colours; columns go along the gradient's sign, rows upwards along random signs."""
    end, eps = scale(audit).end, "eps" if audit.eps is None else radius(audit.eps)
    return [_surface(values, position, end, eps) for values, position in zip(audit.surfaces, audit.surface_positions, strict=True)]


def scale(audit: Audit) -> Scale:
    """The colours that all drawings of an audit share."""
    sizes = np.abs(audit.surfaces[np.isfinite(audit.surfaces)])
    return Scale(tuple(map(_opacity, range(LEVELS))), (float(np.percentile(sizes, _USUAL)) if sizes.size else 0.0) or 1.0)


def _surface(values: Numbers, position: int, end: float, eps: str) -> Surface:
    values = np.where(np.isnan(values), math.inf, values)  # what is no number is wrong, as strongly as anything
    wrong = float(np.mean(values > 0))
    rows, columns = values.shape
    return Surface(
        title=f"Margin around image {position}",
        description=f"{percent(wrong)} of the plane from {eps} below to {eps} above the image is misclassified.",
        caption=f"image {position}: {percent(wrong)} misclassified",
        patches=tuple(_patches(values, end)),
        contour="".join(f"M{a}L{b}" for a, b in _contour(values)),
        squares=(columns, rows),
        eps=eps,
    )


def _opacity(level: int) -> float:
    return round(0.1 + 0.85 * level / (LEVELS - 1), 3)


def _patches(values: Numbers, end: float) -> Iterator[Patch]:
    levels = np.minimum(np.abs(values) / end * LEVELS, LEVELS - 1).astype(int)
    signed = np.where(values <= 0, -1 - levels, 1 + levels)[::-1]  # the drawing's rows go downwards
    for value in np.unique(signed):
        squares = "".join(f"M{x} {y}h{length}v1h-{length}z" for x, y, length in _runs(signed == value))
        yield Patch("withstood" if value < 0 else "broken", _opacity(abs(int(value)) - 1), squares)


def _runs(mask: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Where squares of one colour stand beside each other: first column, row and number."""
    for y, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(int)))
        yield from ((int(begin), y, int(end - begin)) for begin, end in zip(edges[::2], edges[1::2], strict=True))


def _contour(values: Numbers) -> Iterator[tuple[str, str]]:
    """The line between the points where the margin is above 0 and those where it is not, by marching squares."""
    rows, columns = values.shape
    for row in range(rows - 1):
        for column in range(columns - 1):
            corners = [(row + down, column + right) for down, right in _SIDES]
            crossings = [_crossing(values, a, b) for a, b in pairwise([*corners, corners[0]]) if (values[a] > 0) != (values[b] > 0)]
            yield from _segments(crossings, rows)


def _crossing(values: Numbers, a: tuple[int, int], b: tuple[int, int]) -> Crossing:
    """Where between two neighbouring points the margin is 0: row and column, between whole numbers."""
    here, there = float(values[a]), float(values[b])
    part = here / (here - there) if math.isfinite(here - there) else 0.5
    return a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])


def _segments(crossings: Sequence[Crossing], rows: int) -> Iterator[tuple[str, str]]:
    places = [f"{column + 0.5:.2f} {rows - row - 0.5:.2f}" for row, column in crossings]
    yield from zip(places[::2], places[1::2], strict=True)
