"""A figure of the report with what is said about it, and the same figure as SVG within a page, in the page's colours."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

STYLE = Path(__file__).parents[1] / "pages" / "style.css"
COLOURS = dict(re.findall(r"--([\w-]+): (#\w{6})", STYLE.read_text().split("@media")[0]))  # the page's in the light, by name
NAMES = {colour: name for name, colour in COLOURS.items()}
RUN_COLOURS = 6  # after these they begin again, with dotted lines

Size = tuple[float, float]
WIDE, NARROW = (720.0, 390.0), (360.0, 300.0)  # in CSS pixels; drawn twice, so that the text has the same size on a phone
PANEL = (360.0, 270.0)  # one of several side by side
_DOTTED = (0, (0.1, 2.2))
_HREF = "{http://www.w3.org/1999/xlink}href"


class Plot:
    """One figure with one pair of axes, in CSS pixels. Title and legend are HTML beside it; ``titled`` puts them into the figure.

    Args:
        title: what it shows.
        size: width and height.
        x_label: what x is.
        fractions: y is a fraction, written in percent from 0 to 100%.
        margins: left, right, top and bottom of the axes.
    """

    def __init__(
        self,
        title: str,
        size: Size = PANEL,
        *,
        x_label: str = "",
        fractions: bool = False,
        margins: tuple[float, float, float, float] = (46, 12, 12, 42),
    ) -> None:
        (width, height), (left, right, top, bottom) = size, margins
        self.title, self.description = title, ""
        self._notes: dict[str, Sequence[str]] = {}
        with rc_context({"text.parse_math": False}):  # names are no formulas
            self.figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=COLOURS["page"])
            self.axes = axes = self.figure.subplots()
        self.figure.subplots_adjust(left=left / width, right=1 - right / width, top=1 - top / height, bottom=bottom / height)
        axes.set_facecolor("none")
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=COLOURS["rule"], linewidth=1)
        axes.spines[:].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelsize=12, labelcolor=COLOURS["soft"], pad=7)
        axes.xaxis.set_major_locator(MaxNLocator(8 if width > 500 else 5, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.set_xlabel(x_label, fontsize=12, color=COLOURS["soft"])
        if fractions:
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    def line(
        self,
        label: str,
        colour: str | int,
        points: Sequence[tuple[float, float]],
        *,
        notes: Sequence[str] = (),
        band: Sequence[tuple[float, float]] = (),
        dotted: bool = False,
        joined: bool = True,
    ) -> None:
        """Draw a line.

        Args:
            label: in the legend; where it is empty, there is none.
            colour: the name of one of ``COLOURS``, or the number of a run or an attack.
            points: ``(x, y)``.
            notes: what a pointer learns at every point; only with notes the points are marked.
            band: ``(low, high)`` at every point, shaded.
            dotted: instead of solid.
            joined: draw the line; without it only the points.
        """
        if isinstance(colour, int):
            dotted, colour = dotted or colour >= RUN_COLOURS, f"run-{colour % RUN_COLOURS}"
        if band:
            low, high = zip(*band, strict=True)
            self.axes.fill_between([x for x, _ in points], low, high, color=COLOURS[colour], alpha=0.15, linewidth=0)
        (line,) = self.axes.plot(*zip(*points, strict=True), color=COLOURS[colour], linewidth=2.2, clip_on=False, solid_capstyle="round")
        line.set(linestyle=(_DOTTED if dotted else "-") if joined else "none", dash_capstyle="round", solid_joinstyle="round")
        if label:
            line.set_label(label if label[0] != "_" else f"\N{ZERO WIDTH SPACE}{label}")  # matplotlib hides labels that begin so
        if notes:
            line.set(marker="o", markersize=6.4, markeredgecolor=COLOURS["page"], markeredgewidth=1.2)
            self.note(line, notes)

    def mark(self, text: str, *, x: float | None = None, y: float = 0) -> None:
        """Point out an x, or else a y, by a dashed line; only once the limits are set."""
        line: dict[str, Any] = {"color": COLOURS["soft"], "linewidth": 1, "linestyle": (0, (3, 4))}
        words: dict[str, Any] = {
            "textcoords": "offset points",
            "fontsize": 12,
            "color": COLOURS["soft"],
            "fontstyle": "italic",
            "parse_math": False,
        }
        if x is None:
            self.axes.axhline(y, **line)
            self.axes.annotate(text, (1, y), (0, 6), xycoords=("axes fraction", "data"), ha="right", **words)
        else:
            self.axes.axvline(x, **line)
            offset, anchor = (7, "left") if x < 0.7 * self.axes.get_xlim()[1] else (-7, "right")
            self.axes.annotate(text, (x, 1), (offset, -11), xycoords=("data", "axes fraction"), ha=anchor, **words)

    def note(self, artist: Artist, notes: Sequence[str]) -> None:
        """What a pointer learns at an artist, or at each point of a line."""
        artist.set_gid(f"note-{len(self._notes)}")
        self._notes[f"note-{len(self._notes)}"] = notes

    @property
    def legend(self) -> list[tuple[str, str, bool]]:
        """CSS colour, meaning, and whether it is dotted, of what has a label."""
        keys: list[tuple[str, str, bool]] = []
        for label, handle in self._handles().items():
            line = isinstance(handle, Line2D)
            colour = to_hex(handle.get_color() if line else handle.patches[0].get_facecolor())
            keys.append((f"var(--{NAMES[colour]})", label, line and handle.is_dashed()))
        return keys

    def titled(self, title: str) -> Figure:
        """The figure as a file of its own, larger by a title and by the legend."""
        labels, handles = self._handles().keys(), self._handles().values()
        width, height = self.figure.get_size_inches()
        columns = max(1, int(72 * width / (60 + 7 * max(map(len, labels), default=1))))
        self.figure.set_size_inches(width, height + (40 + 22 * -(-len(labels) // columns)) / 72)
        self.axes.set_title(title, loc="left", pad=14, fontsize=15, fontweight="bold", color=COLOURS["ink"], parse_math=False)
        if labels:
            legend = self.figure.legend(
                handles, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=12, labelcolor=COLOURS["ink"]
            )
            for text in legend.get_texts():
                text.set_parse_math(False)
        self.figure.set_layout_engine("constrained", w_pad=0.14, h_pad=0.1)
        return self.figure

    def _handles(self) -> dict[str, Any]:
        """What the legend shows, by its label; bars that mean the same once."""
        handles, labels = self.axes.get_legend_handles_labels()
        return dict(zip(labels, handles, strict=True))

    def svg(self, style: str = "") -> Markup:
        """The figure as an element of a page: without ids and fonts, its colours CSS variables, each note the title of its shape.

        Args:
            style: further CSS classes.
        """
        self.figure.patch.set_visible(False)
        root = ElementTree.fromstring(svg_file(self.figure).replace(' xmlns="http://www.w3.org/2000/svg"', ""))  # noqa: S314  (our own)
        shapes = {f"#{path.get('id')}": path.get("d", "") for path in root.iter("path")}
        for group in root.iter("g"):
            marked = [*group.iter("use")] or [*group.iter("path")]
            for shape, note in zip(marked, self._notes.get(group.get("id", ""), ()), strict=False):
                ElementTree.SubElement(shape, "title").text = note
        for parent in [*root.iter()]:
            for unused in [*parent.findall("defs"), *parent.findall("metadata")]:
                parent.remove(unused)
        drawn = [element for element in root.iter() if element.tag in ("path", "use", "text") and element.get("style") != "fill: none"]
        for element in drawn:
            element.tail, element.text = None, element.text if element.tag == "text" else None
            if element.tag == "use":
                moved, shape = f"translate({element.get('x')} {element.get('y')})", shapes[element.get(_HREF, "")]
                element.tag, element.attrib = "path", {"d": shape, "transform": moved, "style": element.get("style", "")}
            known = {name: _in_page(value) for name, value in element.attrib.items() if name not in ("id", "clip-path")}
            element.attrib = {name: value for name, value in known.items() if value}
        root[:] = drawn
        label = f"{self.title}. {self.description}"
        root.attrib = {"class": f"chart {style}".rstrip(), "viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label}
        return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704  (escaped by ElementTree)


def svg_file(figure: Figure) -> str:
    """The figure as the content of an SVG file: its texts as text, and the same bytes each time."""
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "logitpair", "text.parse_math": False}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _in_page(value: str) -> str:
    """An attribute of the SVG in few characters: colours by their names, numbers to a hundredth, the font that of the page."""
    value = re.sub(r"#\w{6}", lambda colour: f"var(--{NAMES[colour[0]]})" if colour[0] in NAMES else colour[0], value)
    value = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return re.sub(r"font-family: [^;]*;? ?|rotate\(-0 [^)]*\)|\s*\n", "", value)
