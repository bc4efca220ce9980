"""The elements of a page as HTML. Whatever they are given is escaped, unless it is ``Markup`` itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from logitpair.report.figures.plot import Plot, css
from logitpair.report.text.format import percent, span
from logitpair.storage.results import Accuracy

DASH, DOT = "\N{EN DASH}", " \N{MIDDLE DOT} "
_LINES = ("p", "h2", "h3", "ul", "li", "div", "figure", "section", "details", "table", "thead", "tr", "dd")  # a line begins after them
_RIGHT, _WRONG = "M3 8.5l3.5 3.5L13 4.5", "M4 4l8 8M12 4l-8 8"
_ICONS = {
    "trustworthy": _RIGHT,
    "passed": _RIGHT,
    "overestimated": _WRONG,
    "failed": _WRONG,
    "inconclusive": "M5.2 5.6a2.8 2.8 0 1 1 4.3 2.4c-1 .7-1.5 1.1-1.5 2.2M8 13v.2",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a table with more than its content: a CSS class, what a pointer learns, and how strong its colour is, from 0 to 1."""

    content: str
    style: str = ""
    title: str = ""
    strength: float | None = None


def tag(name: str, *content: str, **attributes: object) -> Markup:
    """An element; attributes with a trailing ``_`` or with ``_`` for ``-``, and without those that are empty."""
    known = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value != "")
    written = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in known)
    ending = "\n" if name in _LINES else ""
    return Markup("<{0}{1}>{2}</{0}>{3}").format(name, written, Markup("").join(content), ending)


def page(kicker: str, title: str, leads: Iterable[str], caution: str, *sections: Markup, doubts: Iterable[str] = ()) -> str:
    """A whole page, which loads nothing: what it is, its title, what to know, how far to trust it and what speaks against it."""
    skeleton, style = (Markup(Path(__file__).with_name(name).read_text(encoding="utf-8")) for name in ("page.html", "style.css"))  # noqa: S704  (our own)
    head = [*(text(lead, "lead") for lead in leads), text(tag("strong", "Read with care.") + f" {caution}", "caution")]
    if points := [tag("li", doubt) for doubt in doubts]:
        head.append(tag("div", tag("strong", "Signs against these numbers"), tag("ul", *points), class_="caution doubt"))
    header = tag("header", tag("p", kicker, class_="kicker"), tag("h1", title), *head)
    return skeleton.format(title=title, style=style, content=header + Markup("").join(sections))


def text(words: str, style: str = "fine") -> Markup:
    return tag("p", words, class_=style)


def section(name: str, title: str, *blocks: Markup, style: str = "") -> Markup:
    """A section with its id; where its CSS class has a colour, the title has a dot."""
    return tag("section", tag("h2", key() if "run-" in style else "", title, id=name), *blocks, class_=style, aria_labelledby=name)


def details(summary: str, *blocks: Markup) -> Markup:
    return tag("details", tag("summary", summary), *blocks)


def figure(title: str, *blocks: Markup, note: str = "", style: str = "") -> Markup:
    """A titled figure, with a note below it."""
    return tag("figure", tag("h3", title), *blocks, text(note) if note else "", class_=style)


def plot_figure(plot: Plot | None, note: str = "") -> list[Markup]:
    """A plot as a figure with its legend; none for None."""
    return [figure(plot.title, plot.svg(), legend(plot), note=note)] if plot else []


def key(style: str = "", colour: str = "") -> Markup:
    """A dot or a dash in the colour of what follows it."""
    return tag("i", class_=f"key {style}".rstrip(), style=colour and f"--c: {colour}")


def legend(plot: Plot) -> Markup:
    keys = ((label, *css(artist)) for label, artist in plot.handles.items())
    return tag("ul", *(tag("li", key("dotted" if dotted else "", colour), label) for label, colour, dotted in keys), class_="legend")


def wide_plot(plots: Sequence[Plot], *notes: str) -> Markup:
    """A plot drawn for wide pages and again for phones, with legend and notes beside it."""
    wide, narrow = plots
    aside = tag("div", legend(wide), *map(text, notes), class_="aside")
    return tag("div", tag("div", wide.svg("wide"), narrow.svg("narrow")), aside, class_="plot")


def table(
    title: str, head: Sequence[str], rows: Iterable[Sequence[str | Cell]], *, numbers: Sequence[int] = (), name: int = 0, style: str = ""
) -> Markup:
    """A table that scrolls where it is too wide, with the columns ``numbers`` aligned at the right and rows named by the column ``name``.

    In a heading what follows a ``|`` is written small.
    """

    def cell(i: int, value: str | Cell) -> Markup:
        shown = value if isinstance(value, Cell) else Cell(value)
        kind, scope = ("th", "row") if i == name else ("td", "")
        classes = f"{'number' if i in numbers else ''} {shown.style}".strip()
        colour = "" if shown.strength is None else f"--share: {shown.strength:.3f}"
        return tag(kind, shown.content, scope=scope, class_=classes, style=colour, title=shown.title)

    def heading(i: int, words: str) -> Markup:
        words, _, small = words.partition("|")
        return tag("th", words, tag("small", small) if small else "", scope="col", class_="number" if i in numbers else "")

    top = tag("thead", tag("tr", *(heading(i, words) for i, words in enumerate(head))))
    body = tag("tbody", *(tag("tr", *(cell(i, value) for i, value in enumerate(row))) for row in rows))
    return tag("div", tag("table", top, body, class_=style), class_="scroll", tabindex=0, role="region", aria_label=title)


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    return tag("dl", *(tag("dt", word) + tag("dd", known) for word, known in pairs), class_="facts")


def bar(accuracy: Accuracy) -> Markup:
    """An accuracy with its interval, in numbers and as a bar."""
    low, high = accuracy.ci95
    filled = tag("i", style=f"width: {accuracy.top1:.1%}") + tag("b", style=f"left: {low:.1%}; right: {1 - high:.1%}")
    numbers = tag("span", percent(accuracy.top1), class_="value") + tag("span", span(accuracy.ci95), class_="range")
    return numbers + tag("span", filled, class_="bar", aria_hidden="true")


def measured(accuracy: Accuracy | None) -> str:
    """An accuracy and its 95% interval."""
    return with_soft(percent(accuracy.top1), span(accuracy.ci95)) if accuracy else DASH


def with_soft(words: str, soft: str) -> Markup:
    return Markup("{} {}").format(words, tag("span", soft, class_="soft"))


def icon(kind: str) -> Markup:
    return tag("svg", tag("path", d=_ICONS[kind]), class_="icon", viewBox="0 0 16 16", aria_hidden="true")


def badge(verdict: str) -> Markup:
    return tag("span", icon(verdict), verdict, class_=f"badge {verdict}")
