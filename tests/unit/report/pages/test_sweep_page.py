"""The figure and the page from a sweep.json made by hand."""

from __future__ import annotations

import re
import xml.dom.minidom
from pathlib import Path

import pytest
from handmade_sweeps import entry, failed_entry, head, make_level, make_sweep
from msgspec.structs import replace

from logitpair.cli.main import main
from logitpair.errors import InputError
from logitpair.report.figures.plot import COLOURS, Plot, css
from logitpair.report.figures.sweep_figures import Reference, sweep_plot
from logitpair.report.pages.reproduction_page import FIGURE1
from logitpair.report.pages.sweep_page import write_sweeps
from logitpair.report.records import load_sweep
from logitpair.sweeps import record


def plot_of(*folders: Path, references: tuple[Reference, ...] = ()) -> Plot:
    return sweep_plot([load_sweep(folder) for folder in folders], references) or pytest.fail("no plot")


def ticks(plot: Plot) -> list[str]:
    return [label.get_text() for label in plot.axes.get_xticklabels()]


def test_the_figure_names_every_weight_and_shows_every_seed(tmp_path: Path) -> None:
    plot = plot_of(make_sweep(tmp_path))
    assert ticks(plot) == ["0", "0.5", "2"]
    assert list(plot.axes.get_xticks()) == [0, 1, 2]  # evenly spaced
    means, seeds = [line for line in plot.axes.lines if line.get_color() == COLOURS["bad"]]
    assert means.get_label() == "white box"
    assert list(means.get_ydata()) == pytest.approx([0.275, 0.525, 0.925])
    assert list(zip(seeds.get_xdata(), seeds.get_ydata(), strict=True))[2:4] == [(1, 0.5), (1, 0.55)]
    assert seeds.get_linestyle() == "None"
    assert "objective.weight = 0.5, seed 1: 55.0%" in plot.svg()
    assert list(plot.handles) == ["clean", "white box"]
    low, high = (extent for extent in plot.axes.collections[1].get_paths()[0].get_extents().intervaly)
    assert (low, high) == pytest.approx((0.25, 0.95))  # from the lowest to the highest seed


def test_several_sweeps_levels_and_references_on_one_figure(tmp_path: Path) -> None:
    folders = [
        make_sweep(tmp_path / "mnist-clp", "mnist-clp"),
        make_sweep(tmp_path / "mnist-squeezing", "mnist-squeezing", (0, 2)),
        make_level(tmp_path / "mnist-noise", "mnist-noise"),
    ]
    page, svg = write_sweeps([*map(load_sweep, folders)], ["a", "b", "c"], tmp_path / "figure.html", FIGURE1, "Figure 1")
    drawn = svg.read_text()
    xml.dom.minidom.parseString(drawn)  # noqa: S318  (our own)
    assert "var(" not in drawn
    for text in ("mnist-clp", "mnist-squeezing", "mnist-noise", "in the paper (about 25%)", "86.4%", ">0.5<", "Figure 1"):
        assert text in drawn, text
    plot = plot_of(*folders, references=FIGURE1)
    colours = {label: css(artist)[0] for label, artist in plot.handles.items()}
    assert colours[FIGURE1[0].label] == colours["mnist-noise"]
    assert colours[FIGURE1[1].label] == colours["mnist-squeezing"]
    level = next(line for line in plot.axes.lines if line.get_label() == "mnist-noise")
    assert list(level.get_xdata()) == [-0.5, 2.5]  # across all weights
    html = page.read_text()
    assert "chosen" in html
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", html)
    assert str(tmp_path) not in html


def test_two_axes_give_a_line_each(tmp_path: Path) -> None:
    runs = [entry({"objective.weight": w, "epochs": e}, 0, 0.5, 100) for w in (0, 1) for e in (3, 5)]
    record.write(tmp_path, head("r", {"objective.weight": [0, 1], "epochs": [3, 5]}, seeds=[0]), runs)
    assert list(plot_of(tmp_path).handles) == ["r, epochs = 3", "r, epochs = 5"]


def test_sweeps_over_different_settings_are_not_drawn_together(tmp_path: Path) -> None:
    sweep = load_sweep(make_sweep(tmp_path))
    other = replace(sweep, axes=(replace(sweep.axes[0], setting="epochs"),), runs=(), points=())
    with pytest.raises(InputError, match=r"objective\.weight, epochs"):
        sweep_plot([sweep, other])


def test_a_sweep_that_has_not_begun_has_a_page_and_no_figure(tmp_path: Path) -> None:
    failed = failed_entry({"w": 0}, 0, "step 3: the loss term clean_loss is not finite")
    record.write(tmp_path, head("r", {"w": [0, 1]}, seeds=[0]), [failed])
    assert sweep_plot([load_sweep(tmp_path)], [Reference("x", 0.5, "r")]) is None
    (page,) = write_sweeps([load_sweep(tmp_path)], ["runs"], tmp_path / "sweep.html")
    assert "clean_loss is not finite" in page.read_text()


def test_report_draws_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_sweep(tmp_path / "sweep")
    assert main(["report", str(folder)]) == 0
    assert (folder / "sweep.html").exists()
    assert (folder / "sweep.svg").exists()
    (tmp_path / "run").mkdir()
    assert main(["report", str(folder), str(tmp_path / "run")]) == 2
    assert "is a sweep" in capsys.readouterr().err


def test_numbers_that_are_not_at_the_papers_scale_say_so(tmp_path: Path) -> None:
    small, whole = make_sweep(tmp_path / "a", "mnist-squeezing", scale="cpu"), make_level(tmp_path / "b", "mnist-noise")
    plot = plot_of(small, whole, references=FIGURE1)
    assert list(plot.handles)[:2] == ["mnist-squeezing (scale cpu)", "mnist-noise"]


def test_weights_are_in_order_of_size_whatever_the_sweep_s_order(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, weights=(0.5, 2, 0))
    assert [point.settings["objective.weight"] for point in load_sweep(folder).points] == [0, 0.5, 2]
    assert ticks(plot_of(folder)) == ["0", "0.5", "2"]
