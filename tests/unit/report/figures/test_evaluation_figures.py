"""The figures of an evaluation, by what their axes show."""

from __future__ import annotations

import re
import xml.dom.minidom
from pathlib import Path
from typing import Any

import pytest
from handmade_runs import RESTARTS, STEPS, accuracy, attack, black_box, evaluation, make_run, page_of, suite, worst
from matplotlib.figure import Figure
from msgspec.structs import replace

from logitpair.report.figures.evaluation_figures import attack_bars, eps_plot, evaluation_figures, search_plot
from logitpair.report.figures.plot import COLOURS, Plot, css, svg_file
from logitpair.report.figures.training_figures import training_plots
from logitpair.storage.results import EvaluationResults, StillCorrect


def notes(plot: Plot) -> list[str]:
    return re.findall(r"<title>(.*?)</title>", plot.svg())


def texts(plot: Plot) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg())


def test_bars_are_as_long_as_the_accuracies_and_so_are_their_intervals() -> None:
    plot = attack_bars(suite())
    assert plot
    troughs, bars = plot.axes.patches[::2], plot.axes.patches[1::2]
    assert [bar.get_width() for bar in bars] == [0.965, 0.55, 0.75, 0.45]
    assert {bar.get_width() for bar in troughs} == {1}
    assert texts(plot)[-8:] == ["clean", "96.5%", "pgd", "55.0%", "step", "75.0%", "any attack", "45.0%"]
    low, high = accuracy(110).ci95
    segment = plot.axes.collections[1].get_segments()[0]
    assert [x for x, _ in segment] == pytest.approx([low, high])
    middles = [bar.get_y() for bar in bars]
    assert middles == sorted(middles)
    assert plot.axes.yaxis_inverted()
    assert list(plot.handles) == ["clean", "under one attack", "under any of them"]


def test_curves_have_a_point_a_step_and_a_point_a_restart() -> None:
    for what, first, correct in (("steps", 0, STEPS), ("restarts", 1, RESTARTS)):
        plot = search_plot(suite(), what)
        assert plot
        (line,) = plot.axes.lines
        assert line.get_label() == "pgd"
        assert list(line.get_xdata()) == list(range(first, first + len(correct)))
        assert list(line.get_ydata()) == [count / 200 for count in correct]
        assert plot.axes.get_xlim() == (0, first + len(correct) - 1)
        assert plot.axes.get_ylim() == (0, 1)
        assert {label.get_text() for label in plot.axes.get_xticklabels()} <= {"0", "1", "2", "3"}
    assert "pgd, 3 gradient steps: 70.0%" in notes(search_plot(suite(), "steps") or pytest.fail("no plot"))
    assert "pgd, 1 restart: 70.0%" in notes(search_plot(suite(), "restarts") or pytest.fail("no plot"))


def test_a_long_search_is_drawn_without_points_and_an_attack_keeps_its_colour() -> None:
    results = suite()
    long = StillCorrect(steps=tuple(range(190, 89, -1)), restarts=(90,))
    results = replace(results, attacks=results.attacks | {"step": attack(150, still_correct=long)})
    steps, restarts = search_plot(results, "steps"), search_plot(results, "restarts")
    assert steps
    assert restarts
    shown = [(line.get_label(), line.get_color(), line.get_marker()) for line in steps.axes.lines]
    assert shown == [("pgd", COLOURS["run-0"], "o"), ("step", COLOURS["run-1"], "None")]
    assert [line.get_label() for line in restarts.axes.lines] == ["pgd"]  # one restart is no curve


def test_accuracy_against_eps_has_bands_and_marks_the_radius_and_guessing() -> None:
    plot = eps_plot([(f"_{i}", i, evaluation()) for i in range(8)])
    assert plot
    assert plot.axes.get_xlim() == (0, 0.5)
    line = plot.axes.lines[0]
    assert list(line.get_ydata()) == [0.965, 0.8, 0.685, 0]
    low, high = evaluation().curve[1].ci95
    band = plot.axes.collections[0].get_paths()[0].vertices
    assert {low, high} <= {y for x, y in band if x == pytest.approx(0.1)}
    assert {"evaluated at 0.2", "guessing, 33.3%"} <= set(texts(plot))
    assert [css(artist)[1] for artist in plot.handles.values()] == [False] * 6 + [True] * 2  # colours begin again
    assert len(plot.handles) == 8  # also names that begin with an underscore
    assert eps_plot([("a", 0, evaluation(curve=()))]) is None


def test_the_norm_of_a_curve_is_that_of_its_attack() -> None:
    threat = {"class_path": "logitpair.threat.L2", "init_args": {"eps": 0.2}}
    round_attack = attack(137, parameters={"class_path": "logitpair.attacks.PGD", "init_args": {"threat": threat}})
    in_l2 = evaluation(attacks={"pgd": round_attack})
    labels = {"eps: distance in L2": [in_l2], "eps": [in_l2, evaluation()]}
    for label, results in labels.items():
        plot = eps_plot([(f"run {i}", i, each) for i, each in enumerate(results)])
        assert plot
        assert plot.axes.get_xlabel() == label
        assert any(note.startswith("run 0 at eps 0.1 in L2: 80.0% (") for note in notes(plot))
        assert ("evaluated at 0.2 in L2" in texts(plot)) == (len(results) == 1), "two balls have one radius"


@pytest.mark.parametrize(
    ("results", "names"),
    [(suite(), ["attacks", "eps", "steps", "restarts"]), (evaluation(black_box={}), ["eps"]), (evaluation(curve=()), [])],
)
def test_the_figures_of_an_evaluation_are_those_there_is_something_to_draw_for(results: EvaluationResults, names: list[str]) -> None:
    figures = evaluation_figures(results)
    assert list(figures) == names
    for name, figure in figures.items():
        assert isinstance(figure, Figure)
        assert figure.axes[0].get_title(loc="left").endswith("(test)")
        assert figure.legends
        drawn = svg_file(figure)
        xml.dom.minidom.parseString(drawn)  # noqa: S318  (our own)
        assert drawn == svg_file(evaluation_figures(results)[name]), "the same bytes each time"


def test_a_figure_in_a_page_is_small_svg_in_the_page_s_colours() -> None:
    svg = (search_plot(suite(), "steps") or pytest.fail("no plot")).svg("wide")
    assert svg.startswith('<svg class="chart wide" viewBox="0 0 360 270" role="img" aria-label="Accuracy against gradient steps. pgd from')
    assert "var(--run-0)" in svg
    for absent in ("#", "id=", "url(", "font-family", "<?xml", "<defs", "DejaVu"):
        assert absent not in svg, absent


def test_names_are_escaped_and_no_formulas(tmp_path: Path) -> None:
    bad = '<script>"&$x^2$'
    attacks = {bad: suite().attacks["pgd"], "step": suite().attacks["step"]}
    boxes = {bad: black_box(100, (bad, 100), ("step", 120)), "y": black_box(120)}
    results = suite(attacks=attacks, white_box=worst(110, bad), black_box=boxes)
    page = page_of([make_run(tmp_path / "run", results)], tmp_path)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10
    assert "$x^2$" in (attack_bars(results) or pytest.fail("no plot")).svg()
    for figure in evaluation_figures(replace(results, name=bad)).values():
        drawn = svg_file(figure)
        xml.dom.minidom.parseString(drawn)  # noqa: S318  (our own)
        assert "<script" not in drawn
        assert "$x^2$" in drawn


def test_a_name_too_long_for_the_figure_is_cut_and_shown_in_full_to_a_pointer() -> None:
    name = "x" * 100
    plot = attack_bars(suite(attacks={name: attack(110), "step": attack(150)}, white_box=worst(110, name)))
    assert plot
    shown = texts(plot)[-6]
    assert len(shown) < 60
    assert shown.endswith("…")
    assert any(note.startswith(name) for note in notes(plot))


def curves(metrics: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {plot.title: [str(line.get_label()) for line in plot.axes.lines] for plot in training_plots(metrics)}


def test_a_training_is_drawn_by_its_terms_and_accuracies() -> None:
    line = {"step": 1, "epoch": 1.0, "loss": 1.0, "clean_loss": 0.5, "pairing": 0.5, "clean_accuracy": 0.5, "validation_clean": 0.4}
    titles = {"Accuracy during training": ["clean, training", "clean, held out"], "Loss and its terms": ["loss", "clean loss", "pairing"]}
    assert curves([line]) == titles
    assert curves([{"step": 1, "epoch": 1.0, "loss": 1.0, "clean_loss": 1.0}]) == {"Loss and its terms": ["loss"]}  # one term is the loss
    assert curves([{"step": 1, "epoch": 0.0, "loss": 1.0}]) == curves([{"step": 1, "epoch": 1.0, "loss": float("nan")}]) == {}


def test_a_long_training_is_drawn_with_few_points() -> None:
    (plot,) = training_plots([{"step": i, "epoch": i / 1000, "loss": 1.0} for i in range(1, 10_001)])
    assert len(plot.axes.lines[0].get_xdata()) < 300
    assert plot.axes.get_xlim() == (0, 10)


def test_a_term_that_only_some_lines_have_is_drawn() -> None:
    lines = [{"step": 1, "epoch": 1.0, "loss": 1.0}, {"step": 2, "epoch": 2.0, "loss": 1.0, "penalty": 1.0}]
    assert [str(line.get_label()) for line in training_plots(lines)[0].axes.lines] == ["loss", "penalty"]
