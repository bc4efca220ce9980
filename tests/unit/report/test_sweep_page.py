"""The chart, the page and the paper's figure from a sweep.json made by hand."""

from __future__ import annotations

import re
import xml.dom.minidom
from dataclasses import replace
from pathlib import Path

import pytest
from handmade_sweeps import entry, failed_entry, head, make_level, make_sweep

from logitpair.cli.main import main
from logitpair.errors import InputError
from logitpair.report.figures.paper_figure1 import CLP, NOISE, PAPER, SQUEEZING, table
from logitpair.report.figures.sweep_figures import Reference, accuracy_chart
from logitpair.report.pages.sweep_page import write_sweeps
from logitpair.report.records.sweep import load_sweep
from logitpair.sweeps import record


def test_the_chart_names_every_weight_and_shows_every_seed(tmp_path: Path) -> None:
    chart = accuracy_chart([load_sweep(make_sweep(tmp_path))])
    assert chart is not None
    assert [label for _, label in chart.x_ticks] == ["0", "0.5", "2"]
    gaps = [b - a for (a, _), (b, _) in zip(chart.x_ticks, chart.x_ticks[1:], strict=False)]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.2)
    means, seeds = [line for line in chart.lines if line.style == "adversarial"]
    assert means.label == "white box"
    assert means.path
    assert means.band
    assert not seeds.label
    assert not seeds.path
    assert len(seeds.dots) == 6
    assert "objective.weight = 0.5, seed 1: 55.0%" in seeds.dots[3][2]
    left, top, _, bottom = chart.edges
    assert seeds.dots[3][1] == pytest.approx(bottom - 0.55 * (bottom - top), abs=0.1)
    assert all(x > left for x, _, _ in seeds.dots)
    assert [line.label for line in chart.lines if line.label] == ["clean", "white box"]


def test_several_sweeps_levels_and_references_on_one_figure(tmp_path: Path) -> None:
    folders = [make_sweep(tmp_path / CLP, CLP), make_sweep(tmp_path / SQUEEZING, SQUEEZING, (0, 2)), make_level(tmp_path / NOISE, NOISE)]
    page, svg = write_sweeps(folders, tmp_path / "figure.html", PAPER, "Figure 1")
    drawn = svg.read_text()
    xml.dom.minidom.parseString(drawn)  # noqa: S318  (our own)
    assert "var(" not in drawn
    for text in ("mnist-clp", "mnist-squeezing", "mnist-noise", "in the paper (about 25%)", "86.4%", ">0.5<", "Figure 1"):
        assert text in drawn, text
    chart = accuracy_chart([load_sweep(folder) for folder in folders], PAPER)
    assert chart is not None
    colours = {line.label: line.style for line in chart.lines if line.label}
    assert colours[PAPER[0].label] == colours["mnist-noise"]
    assert colours[PAPER[1].label] == colours["mnist-squeezing"]
    html = page.read_text()
    assert "chosen" in html
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", html)
    assert str(tmp_path) not in html


def test_figure_1_has_the_papers_numbers_beside_ours(tmp_path: Path) -> None:
    text = table([load_sweep(make_sweep(tmp_path / "a", SQUEEZING)), load_sweep(make_level(tmp_path / "b", NOISE))])
    assert "| logit squeezing | 0.5 | 52.5 (50.0 - 55.0) | 95.0 | 86.4 | 99.0 | 6 of 6 |" in text
    assert "| Gaussian noise alone | - | 25.0 (20.0 - 30.0) | 95.0 | about 25 | not given | 2 of 2 |" in text
    assert "pgd: PGD(steps=40)" in text


def test_two_axes_give_a_line_each(tmp_path: Path) -> None:
    runs = [entry({"objective.weight": w, "epochs": e}, 0, 0.5, 100) for w in (0, 1) for e in (3, 5)]
    record.write(tmp_path, head("r", {"objective.weight": [0, 1], "epochs": [3, 5]}, seeds=[0]), runs)
    chart = accuracy_chart([load_sweep(tmp_path)])
    assert chart is not None
    assert [line.label for line in chart.lines if line.label] == ["r, epochs = 3", "r, epochs = 5"]


def test_sweeps_over_different_settings_are_not_drawn_together(tmp_path: Path) -> None:
    sweep = load_sweep(make_sweep(tmp_path))
    sweeps = [sweep, replace(sweep, axes={"epochs": (1, 2)})]
    with pytest.raises(InputError, match=r"objective\.weight, epochs"):
        accuracy_chart(sweeps)


def test_a_sweep_that_has_not_begun_has_a_page_and_no_chart(tmp_path: Path) -> None:
    failed = failed_entry({"w": 0}, 0, "step 3: the loss term clean_loss is not finite")
    record.write(tmp_path, head("r", {"w": [0, 1]}, seeds=[0]), [failed])
    assert accuracy_chart([load_sweep(tmp_path)], [Reference("x", 0.5, "r")]) is None
    (page,) = write_sweeps([tmp_path], tmp_path / "sweep.html")
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
    small, whole = make_sweep(tmp_path / "a", SQUEEZING, scale="cpu"), make_level(tmp_path / "b", NOISE)
    text = table([load_sweep(small), load_sweep(whole)])
    assert text.count("| logit squeezing (scale cpu) |") == 4  # the chosen weight, and three
    assert text.count("| Gaussian noise alone |") == 2
    assert "smaller networks or shorter trainings" in text
    assert "smaller networks" not in table([load_sweep(whole)])
    chart = accuracy_chart([load_sweep(small), load_sweep(whole)], PAPER)
    assert chart is not None
    assert [line.label for line in chart.lines if line.label][:2] == ["mnist-squeezing (scale cpu)", "mnist-noise"]


def test_weights_stand_by_size_however_the_sweep_was_told(tmp_path: Path) -> None:
    sweep = load_sweep(make_sweep(tmp_path, weights=(0.5, 2, 0)))
    rows = [line.split(" | ")[1] for line in table([sweep]).split("held-out white box %")[1].splitlines() if "logit pairing" in line]
    assert rows == ["0", "0.5", "2"]
    chart = accuracy_chart([sweep])
    assert chart is not None
    assert [label for _, label in chart.x_ticks] == ["0", "0.5", "2"]
