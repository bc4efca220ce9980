"""What the report says of images made against other networks, from evaluations made by hand."""

from __future__ import annotations

import re
from pathlib import Path

from handmade_runs import add_evaluation, black_box, evaluation, make_run, page_of, suite, tables
from msgspec.structs import replace

from logitpair.report.pages.transfer_section import transfer_section
from logitpair.report.records import Run, load_run
from logitpair.report.text.summary import summarize
from logitpair.storage.results import DataSet


def make_transfer(tmp_path: Path) -> list[Path]:
    """Three runs: `a` and `b` are tried on each other's images and on those of `elsewhere`, `c` is attacked in the white box alone."""
    both = {"elsewhere": black_box(120, ("pgd", 120), ("step", 140))}
    a = make_run(tmp_path / "a", evaluation(black_box={}))
    add_evaluation(a, suite(name="transfer", transfer=True, black_box={"b": black_box(150, ("pgd", 150), ("step", 160))} | both))
    b = make_run(tmp_path / "b", suite(black_box={"a": black_box(170, ("pgd", 170), ("step", 180))} | both))
    return [a, b, make_run(tmp_path / "c", evaluation(black_box={}))]


def heat_maps(*runs: Path) -> list[list[list[str]]]:
    return tables("".join(transfer_section([load_run(run) for run in runs])), "heat")


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
    assert "Framed: source and target are the same network" in page


def test_the_evaluation_transfer_is_preferred_to_the_main_one_and_of_several_the_latest(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluation(black_box={"x": black_box(100)}))
    transferred = evaluation(name="transfer", transfer=True, black_box={"x": black_box(20)})
    add_evaluation(run, transferred)
    main = load_run(run).main
    assert main
    assert main.name == "test"
    (rows,) = heat_maps(run)  # one attack: its matrix is the worst one
    assert rows[1:] == [["x", "10.0%"]]
    assert "Framed" not in transfer_section([load_run(run)])[0]
    later = {"name": "other", "created": "2026-02-02T03:04:05+00:00", "black_box": {"x": black_box(30)}}
    add_evaluation(run, replace(transferred, **later))
    assert heat_maps(run)[0][1:] == [["x", "15.0%"]]


def test_without_a_test_the_largest_and_of_those_the_strictest_evaluation_is_the_main_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluation(name="a"))
    add_evaluation(run, evaluation(20, name="b"))
    assert [results.name for results in load_run(run).evaluations] == ["b", "a"]
    add_evaluation(run, evaluation())
    assert [results.name for results in load_run(run).evaluations] == ["test", "b", "a"]


def test_a_transfer_that_beats_the_white_box_is_a_doubt_though_the_main_evaluation_has_none(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluation(black_box={}))
    assert not summarize([load_run(run)]).doubts
    add_evaluation(run, evaluation(name="transfer", transfer=True, black_box={"x": black_box(20)}))
    (doubt,) = summarize([load_run(run)]).doubts
    assert "images made against x fool it more often (10.0% left)" in doubt


def test_the_comparison_stays_narrow_with_several_sources(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", evaluation(black_box={"x": black_box(150)}))
    (rows,) = tables(page_of([one], tmp_path), "comparison")
    assert rows[0] == ["Run", "Clean", "White boxworst attack", "White boxany attack", "Black boxfrom x"]
    two = make_run(tmp_path / "two", evaluation(black_box={"x": black_box(150), "y": black_box(120)}))
    (rows,) = tables(page_of([two], tmp_path), "comparison")
    assert [len(row) for row in rows] == [4, 4]


def test_columns_under_other_conditions_are_said_to_differ(tmp_path: Path) -> None:
    cars = evaluation(data=DataSet(name="cars", split="test", class_names=("x", "y", "z")))
    here, there = make_run(tmp_path / "a"), make_run(tmp_path / "b", cars)
    assert "differ in data" in transfer_section([load_run(here), load_run(there)])[0]


def test_without_another_network_there_is_no_heat_map(tmp_path: Path) -> None:
    assert transfer_section([load_run(make_run(tmp_path / "run", evaluation(black_box={})))]) == []
    assert transfer_section([Run(name="run", path="run")]) == []
