"""A figure of the report with what is said about it, and the same figure as SVG within a page, in the page's colours."""

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

_CSS = Path(__file__).parents[1] / "pages" / "style.css"
COLOURS = dict(re.findall(r"--([\w-]+): (#\w{6})", _CSS.read_text(encoding="utf-8").split("@media")[0]))  # the page's in the light, by name
NAMES = {colour: name for name, colour in COLOURS.items()}
RUN_COLOURS = 6  # after these they begin again, with dotted lines

Size = tuple[float, float]  # width and height
Margins = tuple[float, float, float, float]  # of the axes: left, right, top and bottom
WIDE, NARROW = (720.0, 390.0), (360.0, 300.0)  # in CSS pixels; drawn twice, so that the text has the same size on a phone
PANEL = (360.0, 270.0)  # one of several side by side
DASHED, _DOTTED = (0, (3, 4)), (0, (0.1, 2.2))
_HREF = "{http://www.w3.org/1999/xlink}href"

STYLE: dict[Any, Any] = {
    "figure.dpi": 72,
    "figure.facecolor": COLOURS["page"],
    "font.size": 12,
    "text.parse_math": False,  # names are no formulas
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": COLOURS["rule"],
    "axes.labelcolor": COLOURS["soft"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["soft"],
    "xtick.bottom": False,
    "ytick.left": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "logitpair",
}
styled = rc_context(STYLE)  # decorates whatever draws


class Plot:
    """One figure with one pair of axes. Title and legend are HTML beside it; ``titled`` puts them into the figure."""

    @styled
    def __init__(
        self, title: str, size: Size = PANEL, *, x_label: str = "", fractions: bool = False, margins: Margins = (46, 12, 12, 42)
    ) -> None:
        (width, height), (left, right, top, bottom) = size, margins
        self.title, self.description = title, ""
        self._notes: dict[str, Sequence[str]] = {}
        self.figure = Figure(figsize=(width / 72, height / 72))
        self.axes = self.figure.subplots()
        self.axes.spines[:].set_visible(False)
        self.axes.tick_params(pad=7)
        self.figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
        for axis, most in ((self.axes.xaxis, 8 if width > 500 else 5), (self.axes.yaxis, 5)):
            axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter("{x:g}")
        self.axes.set_xlabel(x_label)
        if fractions:
            self.axes.set_ylim(0, 1)
            self.axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    @styled
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
        """Draw a line in one of ``COLOURS``, or in that of a run or an attack by its number; only with notes its points are marked."""
        if isinstance(colour, int):
            dotted, colour = dotted or colour >= RUN_COLOURS, f"run-{colour % RUN_COLOURS}"
        if band:
            low, high = zip(*band, strict=True)
            self.axes.fill_between([x for x, _ in points], low, high, color=COLOURS[colour], alpha=0.15, linewidth=0)
        style = (_DOTTED if dotted else "-") if joined else "none"
        (line,) = self.axes.plot(*zip(*points, strict=True), color=COLOURS[colour], linestyle=style, linewidth=2.2, clip_on=False)
        line.set(solid_capstyle="round", dash_capstyle="round")
        if label:
            line.set_label(label if label[0] != "_" else f"\N{ZERO WIDTH SPACE}{label}")  # matplotlib hides labels that begin so
        if notes:
            line.set(marker="o", markersize=6.4, markeredgecolor=COLOURS["page"], markeredgewidth=1.2)
            self.note(line, notes)

    @styled
    def mark(self, text: str, *, x: float | None = None, y: float = 0) -> None:
        """Point out an x, or else a y, by a dashed line; only once the limits are set."""
        line: dict[str, Any] = {"color": COLOURS["soft"], "linewidth": 1, "linestyle": DASHED}
        words: dict[str, Any] = {"textcoords": "offset points", "color": COLOURS["soft"], "fontstyle": "italic"}
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
    def handles(self) -> dict[str, Any]:
        """The artists of the legend by label; bars that mean the same once."""
        handles, labels = self.axes.get_legend_handles_labels()
        return dict(zip(labels, handles, strict=True))

    @styled
    def titled(self, title: str) -> Figure:
        """The figure as a file of its own, larger by a title and by the legend."""
        handles, (width, height) = self.handles, self.figure.get_size_inches()
        columns = max(1, int(72 * width / (60 + 7 * max(map(len, handles), default=1))))
        self.figure.set_size_inches(width, height + (40 + 22 * -(-len(handles) // columns)) / 72)
        self.axes.set_title(title, loc="left", pad=14, fontsize=15, fontweight="bold", color=COLOURS["ink"])
        if handles:
            self.figure.legend(handles.values(), handles, loc="outside lower left", ncols=columns, frameon=False, labelcolor=COLOURS["ink"])
        self.figure.set_layout_engine("constrained", w_pad=0.14, h_pad=0.1)
        return self.figure

    def svg(self, style: str = "") -> Markup:
        """The figure as an element of a page: without ids and fonts, its colours CSS variables, each note the title of its shape."""
        self.figure.patch.set_visible(False)
        root = ElementTree.fromstring(svg_file(self.figure).replace(' xmlns="http://www.w3.org/2000/svg"', ""))  # noqa: S314  (our own)
        shapes = {f"#{path.get('id')}": path.get("d", "") for path in root.iter("path")}
        drawn: list[ElementTree.Element] = []
        for group in root.iter("g"):
            paths, marks = group.findall("path"), group.findall("g/use")
            for shape, note in zip(marks or paths, self._notes.get(group.get("id", ""), ()), strict=False):
                ElementTree.SubElement(shape, "title").text = note
            drawn += [*(path for path in paths if path.get("style") != "fill: none"), *marks, *group.findall("text")]
        for shape in drawn:
            if shape.tag == "use":
                shape.tag, moved = "path", f"translate({shape.attrib.pop('x')} {shape.attrib.pop('y')})"
                shape.attrib |= {"d": shapes[shape.attrib.pop(_HREF)], "transform": moved}
            known = ((name, _in_page(value)) for name, value in shape.items() if name not in ("id", "clip-path"))
            shape.attrib, shape.tail = {name: value for name, value in known if value}, None
        root[:] = drawn
        label = f"{self.title}. {self.description}"
        root.attrib = {"class": f"chart {style}".rstrip(), "viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label}
        return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704  (escaped by ElementTree)


def css(artist: Any) -> tuple[str, bool]:
    """The colour of a line or of bars as a CSS variable, and whether it is dotted."""
    line = isinstance(artist, Line2D)
    colour = to_hex(artist.get_color() if line else artist.patches[0].get_facecolor())
    return f"var(--{NAMES[colour]})", line and artist.is_dashed()


@styled
def svg_file(figure: Figure) -> str:
    """The figure as the content of an SVG file: its texts as text, and the same bytes each time."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _in_page(value: str) -> str:
    """An attribute of the SVG in few characters: colours by their names, numbers to a hundredth, the font that of the page."""
    value = re.sub(r"#\w{6}", lambda colour: f"var(--{NAMES[colour[0]]})" if colour[0] in NAMES else colour[0], value)
    value = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return re.sub(r"font-family: [^;]*;? ?|rotate\(-0 [^)]*\)|\s*\n", "", value)
