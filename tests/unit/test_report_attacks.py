"""What the report says of a suite's attacks and of other networks' images, from evaluations made by hand."""

from __future__ import annotations

import re
import sys
import xml.dom.minidom
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_runs import add_evaluation, attacked, entry, make_run, results

from logitpair.errors import InputError
from logitpair.evaluation import Evaluation
from logitpair.report import write_report
from logitpair.report.attack_charts import attack_bars, restarts_chart, steps_chart
from logitpair.report.chart import ticks
from logitpair.report.figures import plots
from logitpair.report.load import Run, load_run
from logitpair.report.published import comparisons
from logitpair.report.records import Evaluation as Record
from logitpair.report.summary import summarize
from logitpair.report.transfer import transfer

STANDING = {"steps": [190, 180, 150, 140], "restarts": [140, 120, 110]}


def suite(**changes: Any) -> dict[str, Any]:
    """An evaluation with two attacks, one of which tells how it went."""
    attacks = {
        "pgd": attacked(110, standing=STANDING, broken={"total": 83, "first": 83, "alone": 60}),
        "step": attacked(150, broken={"total": 43, "first": 20, "alone": 7}),
    }
    return results(attacks=attacks, white_box=entry(110) | {"attack": "pgd"}, white_box_union=entry(90)) | changes


def victim(correct: int, *attacks: tuple[str, int]) -> dict[str, Any]:
    """A source's part of an evaluation."""
    entries = {name: attacked(count) for name, count in attacks or (("pgd", correct),)}
    return entry(correct) | {"attack": next(iter(entries)), "union": entry(correct), "attacks": entries}


def record(content: dict[str, Any]) -> Record:
    return Record.read(content, {})


def page_of(runs: list[Path], tmp_path: Path) -> str:
    write_report(runs, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


class Tables(HTMLParser):
    """The text of every cell of every table, by the table's class."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[tuple[str, list[list[str]]]] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append((dict(attrs).get("class") or "", []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][1][-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.tables[-1][1][-1][-1] += " ".join(data.split())


def tables(page: str, style: str) -> list[list[list[str]]]:
    return [rows for found, rows in Tables(page).tables if found == style]


def make_transfer(tmp_path: Path) -> list[Path]:
    """Three runs: `a` and `b` are tried on each other's images and on those of `elsewhere`, `c` is attacked in the white box alone."""
    both = {"elsewhere": victim(120, ("pgd", 120), ("step", 140))}
    a = make_run(tmp_path / "a", black_box={})
    add_evaluation(a, suite(name="transfer", black_box={"b": victim(150, ("pgd", 150), ("step", 160))} | both))
    b = make_run(tmp_path / "b", **suite(black_box={"a": victim(170, ("pgd", 170), ("step", 180))} | both))
    return [a, b, make_run(tmp_path / "c", black_box={})]


def test_the_heat_map_has_a_row_a_source_and_a_column_a_target(tmp_path: Path) -> None:
    page = page_of(make_transfer(tmp_path), tmp_path)
    worst, pgd, step = tables(page, "heat")
    assert worst == [
        ["images from ↓tried on →", "a", "b"],
        ["a", "55.0%", "85.0%"],
        ["b", "75.0%", "55.0%"],
        ["elsewhere", "60.0%", "60.0%"],
    ]
    assert pgd == worst
    assert [row[1:] for row in step[1:]] == [["75.0%", "90.0%"], ["80.0%", "75.0%"], ["70.0%", "70.0%"]]
    own = re.findall(r'<td class="wrong own" style="--share: ([\d.]+)"', page)
    assert own == ["0.450", "0.450"] * 2 + ["0.250", "0.250"]
    assert "images from b, tried on a: 150 of 200 right" in page


def test_the_evaluation_transfer_is_preferred_to_the_main_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", black_box={"x": victim(100)})
    add_evaluation(run, results(name="transfer", black_box={"x": victim(20)}))
    loaded = load_run(run)
    assert loaded.main
    assert loaded.main.name == "test"
    found = transfer([loaded])
    assert found
    (source, (cell,)), *others = found.worst.rows
    assert cell
    assert not others
    assert (source, cell.accuracy.top1, cell.white_box) == ("x", 0.1, False)
    assert not found.has_white_box
    assert not found.attacks  # one attack: its matrix is the worst one


def test_a_transfer_that_beats_the_white_box_is_a_doubt_though_the_main_evaluation_has_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", black_box={})
    assert not summarize([load_run(run)]).doubts
    add_evaluation(run, results(name="transfer", black_box={"x": victim(20)}))
    (doubt,) = summarize([load_run(run)]).doubts
    assert "images made against x fool it more often (10.0% left)" in doubt


def test_the_comparison_stays_narrow_with_several_sources(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", black_box={"x": victim(150)})
    (rows,) = tables(page_of([one], tmp_path), "comparison")
    assert rows[0] == ["Run", "Clean", "White boxworst attack", "White boxany attack", "Black boxfrom x"]
    two = make_run(tmp_path / "two", black_box={"x": victim(150), "y": victim(120)})
    (rows,) = tables(page_of([two], tmp_path), "comparison")
    assert [len(row) for row in rows] == [4, 4]


def test_columns_under_other_conditions_are_told(tmp_path: Path) -> None:
    here, there = make_run(tmp_path / "a"), make_run(tmp_path / "b", data={"name": "cars", "class_names": ["x", "y", "z"]})
    found = transfer([load_run(here), load_run(there)])
    assert found
    assert found.differing == "data"
    assert "differ in data" in page_of([here, there], tmp_path)


def test_without_another_network_there_is_no_heat_map(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", black_box={})
    assert transfer([load_run(run)]) is None
    assert 'class="heat"' not in page_of([run], tmp_path)


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


def test_a_run_alone_knows_its_transfer_evaluation(tmp_path: Path) -> None:
    run = Run("run", "run", None, None, {}, (), (), {})
    assert run.transfer is None
    assert transfer([run]) is None
