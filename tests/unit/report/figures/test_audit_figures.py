"""The figures of an audit, by what their axes show."""

from __future__ import annotations

import re
import xml.dom.minidom

import numpy as np
import pytest
from handmade_audits import audit, ledger, without_figures
from handmade_runs import accuracy
from matplotlib.figure import Figure

from logitpair.report.figures.audit_figures import (
    audit_bars,
    audit_figures,
    convergence_plot,
    landscape_plots,
    largest_margin,
    margin_histogram,
    radius_plot,
)
from logitpair.report.figures.plot import Plot, css, svg_file


def histogram(margins: object) -> Plot:
    return margin_histogram(ledger(restarts__margin=margins)) or pytest.fail("no plot")


def test_bars_have_the_reference_and_the_audit_and_8_bits_where_they_differ() -> None:
    assert audit_bars(audit()).description == "clean 96.5%, reference attack 61.0%, audit 0.0%."
    plot = audit_bars(audit(robust_accuracy_8_bit=accuracy(12)))
    assert plot.description.endswith("audit 0.0%, audit, images of 8 bits 6.0%.")
    assert [bar.get_width() for bar in plot.axes.patches[1::2]] == [0.965, 0.61, 0, 0.06]


def test_convergence_begins_clean_and_has_a_point_a_search_beside_the_reference() -> None:
    plot = convergence_plot(audit())
    assert plot
    course, smooth, margin, reference = plot.axes.lines
    assert course.get_xydata().tolist() == [[0, 0.965], [4, 0.3], [6, 0]]
    assert (smooth.get_label(), smooth.get_xydata().tolist()) == ("smooth", [[4, 0.3]])
    assert (margin.get_label(), margin.get_xydata().tolist()) == ("margin", [[6, 0]])
    assert "smooth broke 133 of 193: 30.0% after 4.0 gradients an image" in plot.svg()
    assert (reference.get_label(), reference.is_dashed()) == ("reference attack, 61.0%", True)
    assert reference.get_xydata().tolist() == [[0, 0.61], [6, 0.61]]
    assert list(plot.handles) == ["smooth", "margin", "reference attack, 61.0%"]


def test_a_histogram_counts_everything_once_and_0_is_not_misclassified() -> None:
    plot = histogram([[-2.0, 0.0, 1e-3], [3.0, -2.0, np.nan]])
    right, wrong = plot.axes.containers
    assert (right.get_label(), sum(bar.get_height() for bar in right)) == ("still correct", 3)
    assert (wrong.get_label(), sum(bar.get_height() for bar in wrong)) == ("misclassified", 2)
    assert all(bar.get_x() + bar.get_width() <= 0 for bar in right)
    assert all(bar.get_x() >= 0 for bar in wrong)
    assert "first restart breaks 33.3%" in plot.description
    assert "1 margins are not finite" in plot.description
    unlike = histogram([[-2.0, np.nan, -1.0, -1.0], [-2.0, -2.0, -1.0, np.nan]])  # as in the landscapes
    assert "the first restart breaks 25.0%, all together 50.0%" in unlike.description


@pytest.mark.parametrize("value", [0.0, -1.0, 5.0, 1e-30, np.nan, np.inf])
def test_margins_that_are_all_the_same_are_drawn(value: float) -> None:
    plot = histogram(np.full((2, 3), value))
    assert sum(bar.get_height() for bars in plot.axes.containers for bar in bars) == (6 if np.isfinite(value) else 0)
    assert plot.svg()
    assert all(css(artist) for artist in plot.handles.values()), "the page draws a legend of them"


def test_the_contour_is_where_the_margin_is_0_and_columns_go_to_the_right() -> None:
    crossed, flat = landscape_plots(audit(), ledger())
    assert (crossed.title, flat.title) == ("image 0: 40.0% misclassified", "image 1: 0.0% misclassified")
    filled, contour = crossed.axes.collections
    (line,) = contour.get_paths()
    assert line.vertices[:, 0] == pytest.approx(0.25)  # between the columns of 0 and 0.5, halfway
    assert line.vertices[:, 1].min() == -1
    assert line.vertices[:, 1].max() == 1
    assert len(flat.axes.collections) == 1  # no contour
    assert [label.get_text() for label in crossed.axes.get_xticklabels()] == ["\N{MINUS SIGN}0.2", "0", "0.2"]
    assert filled.norm.boundaries[[0, -1]].tolist() == [-largest_margin(ledger()), largest_margin(ledger())]
    assert set(re.findall(r"fill: var\(--(\w+-?\d?)\); fill-opacity", crossed.svg())) == {"run-0", "bad"}


def test_rows_of_a_landscape_go_upwards_and_a_margin_that_is_not_finite_is_misclassified() -> None:
    values = np.full((1, 3, 3), -1.0)
    values[0, 0, 0] = np.nan
    (plot,) = landscape_plots(audit(), ledger(surface__margin=values, surface__position=[4]))
    assert plot.title == "image 4: 11.1% misclassified"
    (line,) = plot.axes.collections[1].get_paths()
    assert line.vertices.max() <= 0  # around the lower left corner


def test_radii_are_evenly_spaced_with_the_audited_one_marked() -> None:
    plot = radius_plot(audit())
    assert plot
    assert list(plot.axes.get_xticks()) == [0, 1, 2]
    assert [label.get_text() for label in plot.axes.get_xticklabels()] == ["0", "0.2", "1"]
    assert plot.axes.lines[0].get_xydata().tolist() == [[0, 1], [1, 0.5], [2, 0]]
    (mark,) = plot.axes.texts
    assert (mark.get_text(), mark.xy[0]) == ("audited", 1)


def test_a_plane_in_l2_goes_along_the_gradient_itself() -> None:
    in_l2 = audit(threat={"class_path": "logitpair.threat.L2", "init_args": {"eps": 0.2}})
    for known, label in ((in_l2, "along the gradient →"), (audit(), "along the gradient\N{RIGHT SINGLE QUOTATION MARK}s sign →")):
        assert landscape_plots(known, ledger())[0].axes.get_xlabel() == label


def test_the_figures_are_whole_and_those_there_is_something_to_draw_for() -> None:
    figures = audit_figures(audit(), ledger())
    assert set(figures) == {"convergence", "restarts", "surfaces", "eps"}
    for figure in figures.values():
        assert isinstance(figure, Figure)
        xml.dom.minidom.parseString(svg_file(figure))  # noqa: S318  (our own)
    assert [axes.get_title() for axes in figures["surfaces"].axes] == ["image 0", "image 1", ""]  # and the colours
    (labels,) = ([text.get_text() for text in legend.get_texts()] for legend in figures["convergence"].legends)
    assert labels == ["smooth", "margin", "reference attack, 61.0%"]
    assert figures["restarts"].axes[0].get_title(loc="left") == "Where the reference attack ends (overestimated)"
    assert audit_figures(*without_figures()) == {}
