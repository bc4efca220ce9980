"""What the report says of a suite's attacks and of published numbers, from evaluations made by hand."""

from __future__ import annotations

import re
import sys
import xml.dom.minidom
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_runs import STANDING, attacked, entry, make_run, page_of, results, suite, tables, victim

from logitpair.errors import InputError
from logitpair.evaluation.result import Evaluation
from logitpair.report.figures.evaluation_figures import attack_bars, restarts_chart, steps_chart
from logitpair.report.figures.line_chart import ticks
from logitpair.report.figures.standalone import plots
from logitpair.report.records.evaluation import Evaluation as Record
from logitpair.report.text.published import comparisons


def record(content: dict[str, Any]) -> Record:
    return Record.read(content, {})


def test_bars_are_as_long_as_the_accuracies() -> None:
    chart = attack_bars(record(suite()))
    assert chart
    left, _, right, _ = chart.edges
    found = [(bar.label, bar.value, (bar.end - left) / (right - left)) for bar in chart.bars]
    expected = [("clean", "96.5%", 0.965), ("pgd", "55.0%", 0.55), ("step", "75.0%", 0.75), ("any attack", "45.0%", 0.45)]
    assert [bar[:2] for bar in found] == [bar[:2] for bar in expected]
    assert [bar[2] for bar in found] == pytest.approx([bar[2] for bar in expected], abs=1e-3)
    assert all(bar.low < bar.end < bar.high <= right for bar in chart.bars)
    low, high = entry(110)["ci95"]
    assert [(edge - left) / (right - left) for edge in (chart.bars[1].low, chart.bars[1].high)] == pytest.approx([low, high], abs=1e-3)
    assert all(above.y < below.y for above, below in zip(chart.bars, chart.bars[1:], strict=False))


def test_curves_have_a_point_a_step_and_a_point_a_restart() -> None:
    evaluation = record(suite())
    steps, restarts = steps_chart(evaluation), restarts_chart(evaluation)
    assert steps
    assert restarts
    for chart, first, counts in ((steps, 0, STANDING["steps"]), (restarts, 1, STANDING["restarts"])):
        (line,) = chart.lines
        left, top, right, bottom = chart.edges
        last = first + len(counts) - 1
        assert line.label == "pgd"
        assert [x for x, _, _ in line.dots] == pytest.approx(
            [left + (right - left) * (first + i) / last for i in range(len(counts))], abs=0.1
        )
        assert [y for _, y, _ in line.dots] == pytest.approx([bottom - (bottom - top) * count / 200 for count in counts], abs=0.1)
        assert {label for _, label in chart.x_ticks} <= {"0", "1", "2", "3"}
    assert steps.lines[0].dots[3][2] == "pgd, 3 gradient steps: 70.0%"
    assert restarts.lines[0].dots[0][2] == "pgd, 1 restart: 70.0%"


def test_what_is_counted_has_whole_numbers_along_the_axis() -> None:
    assert ticks(2, 5, whole=True) == [0, 1, 2]
    assert ticks(10, 5, whole=True) == [0, 2, 4, 6, 8, 10]
    assert ticks(12, 5, whole=True) == [0, 5, 10]


def test_a_long_search_is_drawn_without_points_and_an_attack_keeps_its_colour() -> None:
    content = suite()
    content["attacks"]["step"]["standing"] = {"steps": list(range(190, 89, -1)), "restarts": [90]}
    evaluation = record(content)
    steps, restarts = steps_chart(evaluation), restarts_chart(evaluation)
    assert steps
    assert restarts
    assert [(line.label, line.style, bool(line.dots)) for line in steps.lines] == [("pgd", "run-0", True), ("step", "run-1", False)]
    assert [line.label for line in restarts.lines] == ["pgd"]  # one restart is no curve


def test_who_broke_what_is_a_table(tmp_path: Path) -> None:
    page = page_of([make_run(tmp_path / "run", **suite())], tmp_path)
    (rows,) = tables(page, "tight")
    assert rows == [["Attack", "Broken", "First", "Alone"], ["pgd", "83", "83", "60"], ["step", "43", "20", "7"]]
    assert "Of the 193 images classified right when clean" in page


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    published = [
        {"source": "arXiv 1803.06373, Table 1", "clean": 0.988, "white_box": 0.56, "black_box": 0.975},
        {"source": "B", "note": "n"},
    ]
    content = suite(published=published, black_box={"x": victim(150), "y": victim(120)})
    page = page_of([make_run(tmp_path / "run", **content)], tmp_path)
    (rows,) = tables(page, "published")
    assert [[row[0], row[1], row[3]] for row in rows[1:]] == [
        ["clean", "96.5%", "98.8%"],
        ["white box", "55.0%", "56.0%within the interval"],
        ["black box from y", "60.0%", "97.5%"],
    ]
    assert all(row[4] == "arXiv 1803.06373, Table 1" for row in rows[1:])
    low, high = entry(110)["ci95"]
    assert rows[2][2] == f"{100 * low:.1f} \N{EN DASH} {100 * high:.1f}"
    assert "A difference within the interval is no difference" in page
    assert "measured with that paper" in page


def test_published_top5_is_compared_with_the_lowest_top5_and_a_missing_measure_has_no_number() -> None:
    content = suite(published=[{"source": "S", "white_box_top5": 0.5, "black_box": 0.9, "black_box_top5": 0.8}], black_box={})
    content["attacks"]["pgd"] |= {"top5": 0.7, "top5_is_upper_bound": True}
    content["attacks"]["step"] |= {"top5": 0.9}
    top5, black_box, black_box_top5 = comparisons(record(content))
    assert top5.ours
    assert (top5.measure, top5.ours[0], top5.at_most, top5.published) == ("white box, top-5", 0.7, True, 0.5)
    assert top5.ours[1:] == pytest.approx(entry(140)["ci95"])
    assert not top5.inside
    assert black_box.ours is black_box_top5.ours is None


def test_absent_keys_draw_nothing(tmp_path: Path) -> None:
    page = page_of([make_run(tmp_path / "run", black_box={})], tmp_path)
    for absent in (
        "Accuracy under each attack",
        "Which attack broke what",
        "gradient steps",
        "against restarts",
        "published",
        'class="heat"',
    ):
        assert absent not in page.split("</style>")[1], absent
    assert set(plots(results(black_box={}))) == {"eps"}
    assert plots(results(curve=[])) == {}


def test_drawings_are_whole_svg_files() -> None:
    drawn = Evaluation(suite(), {}).plots()
    assert list(drawn) == ["attacks", "eps", "steps", "restarts"]
    for svg in drawn.values():
        xml.dom.minidom.parseString(svg)  # noqa: S318  (our own)
        assert "var(" not in svg
    texts = {name: re.findall(r"<text[^>]*>([^<]*)</text>", svg) for name, svg in drawn.items()}
    assert texts["attacks"][0] == "Accuracy under each attack (test)"
    assert {"pgd", "55.0%", "step", "75.0%", "any attack", "45.0%", "clean", "96.5%"} <= set(texts["attacks"])
    assert {"Accuracy against gradient steps (test)", "pgd", "gradient steps"} <= set(texts["steps"])
    assert {"Accuracy against eps (test)", "pgd"} <= set(texts["eps"])


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    bad = '<script>"&'
    attacks = {bad: suite()["attacks"]["pgd"], "step": suite()["attacks"]["step"]}
    published = [{"source": bad, "white_box": 0.5, "note": bad}]
    black_box = {bad: victim(100, (bad, 100), ("step", 120)), "y": victim(120)}
    content = suite(attacks=attacks, white_box=entry(110) | {"attack": bad}, published=published, black_box=black_box, name="test")
    folder = make_run(tmp_path / "run")
    Evaluation(content, {"y": np.zeros(3, int)}).save(folder / "evaluation" / "test")
    page = page_of([folder], tmp_path)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10
    for svg in plots(content | {"name": bad}).values():
        xml.dom.minidom.parseString(svg)  # noqa: S318  (our own)
        assert "<script" not in svg


def test_a_name_too_long_for_the_drawing_is_cut_and_told_in_full() -> None:
    name = "x" * 100
    content = suite(attacks={name: attacked(110), "step": attacked(150)}, white_box=entry(110) | {"attack": name})
    chart = attack_bars(record(content))
    assert chart
    assert len(chart.bars[1].label) < 60
    assert chart.bars[1].label.endswith("…")
    assert name in chart.bars[1].note


BROKEN = {"total": 83, "first": 83, "alone": 60}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("broken", BROKEN | {"total": -1}),
        ("broken", BROKEN | {"alone": 84}),
        ("broken", BROKEN | {"first": 84}),
        ("broken", {"total": 83}),
        ("broken", 3),
        ("standing", {"steps": [201]}),
        ("standing", {"steps": [1.5]}),
        ("standing", {"restarts": [True]}),
        ("standing", {"restarts": 7}),
        ("standing", [190]),
        ("published", [{"source": "S", "clean": 98.8}]),
        ("published", [{"clean": 0.9}]),
        ("published", ["arXiv"]),
        ("published", 1),
    ],
)
def test_damaged_values_are_refused_in_one_line(tmp_path: Path, key: str, value: Any) -> None:
    content = suite()
    (content if key == "published" else content["attacks"]["pgd"])[key] = value
    folder = make_run(tmp_path / "run", **content)
    for read in (lambda: page_of([folder], tmp_path), lambda: plots(content)):
        with pytest.raises(InputError, match="damaged or incomplete") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_the_ledger_as_a_table_has_a_row_an_example() -> None:
    columns = {
        "y": [0, 1, 2],
        "clean/prediction": [0, 1, 0],
        "white_box/pgd/distance": [0.1, 0.2, 0.0],
        "gallery/x": np.zeros((2, 1, 4, 4)),
    }
    table = Evaluation(results(), {name: np.asarray(column) for name, column in columns.items()}).to_pandas()
    assert list(table.columns) == ["y", "clean/prediction", "white_box/pgd/distance"]
    assert table.index.name == "example"
    assert list(table[table["clean/prediction"] != table["y"]].index) == [2]


def test_without_pandas_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        Evaluation(results(), {"y": np.zeros(3)}).to_pandas()
