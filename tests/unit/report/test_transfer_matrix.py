"""What the report says of images made against other networks, from evaluations made by hand."""

from __future__ import annotations

import re
from pathlib import Path

from handmade_runs import add_evaluation, make_run, page_of, results, suite, tables, victim

from logitpair.report.records.run import Run, load_run
from logitpair.report.records.transfer_matrix import transfer
from logitpair.report.text.evaluation_summary import summarize


def make_transfer(tmp_path: Path) -> list[Path]:
    """Three runs: `a` and `b` are tried on each other's images and on those of `elsewhere`, `c` is attacked in the white box alone."""
    both = {"elsewhere": victim(120, ("pgd", 120), ("step", 140))}
    a = make_run(tmp_path / "a", black_box={})
    add_evaluation(a, suite(name="transfer", transfer=True, black_box={"b": victim(150, ("pgd", 150), ("step", 160))} | both))
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
    add_evaluation(run, results(name="transfer", transfer=True, black_box={"x": victim(20)}))
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


def test_the_latest_transfer_counts_whatever_its_name(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", black_box={"x": victim(100)})
    add_evaluation(run, results(name="transfer", transfer=True, black_box={"x": victim(20)}))
    add_evaluation(run, results(name="other", transfer=True, created="2026-02-02T03:04:05+00:00", black_box={"x": victim(30)}))
    found = transfer([load_run(run)])
    assert found
    cell = found.worst.rows[0][1][0]
    assert cell
    assert cell.accuracy.correct == 30


def test_without_a_test_the_largest_and_of_those_the_strictest_evaluation_is_the_main_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", name="a")
    add_evaluation(run, results(20, name="b"))
    loaded = load_run(run)
    assert [evaluation.name for evaluation in loaded.evaluations] == ["b", "a"]
    add_evaluation(run, results(name="test"))
    assert [evaluation.name for evaluation in load_run(run).evaluations] == ["test", "b", "a"]


def test_a_transfer_that_beats_the_white_box_is_a_doubt_though_the_main_evaluation_has_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", black_box={})
    assert not summarize([load_run(run)]).doubts
    add_evaluation(run, results(name="transfer", transfer=True, black_box={"x": victim(20)}))
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


def test_a_run_alone_knows_its_transfer_evaluation(tmp_path: Path) -> None:
    run = Run("run", "run", None, None, {}, (), (), {})
    assert run.transfer is None
    assert transfer([run]) is None
