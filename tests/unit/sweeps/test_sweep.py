"""Sweeps without training: the grid, what is refused, and what runs have in common."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from handmade_results import EVALUATION, TRAINING
from handmade_sweeps import entry, failed_entry, make_sweep
from msgspec.structs import replace

from logitpair.cli.main import main
from logitpair.errors import InputError
from logitpair.report.records import load_sweep
from logitpair.storage.result_files import write_record
from logitpair.storage.results import Spread, SweepRun
from logitpair.sweeps import grid, record


def test_lists_are_axes_and_single_values_hold_for_all() -> None:
    axes, fixed = grid.read(["--objective.weight", "0,0.5,8/255", "--epochs=2", "--optimizer.betas", "[0.9,0.99]", "--model", "a.B,c.D"])
    assert axes == {"objective.weight": ["0", "0.5", "8/255"], "model": ["a.B", "c.D"]}
    assert fixed == {"epochs": "2", "optimizer.betas": "[0.9,0.99]"}


def test_the_grid_is_the_product_of_the_axes() -> None:
    points = grid.points({"a": ("1", "2"), "b": ("x", "y", "z")})
    assert [tuple(point.values()) for point in points] == [("1", "x"), ("1", "y"), ("1", "z"), ("2", "x"), ("2", "y"), ("2", "z")]
    assert grid.points({}) == [{}]


@pytest.mark.parametrize(
    ("text", "values"),
    [("0,0.5", ["0", "0.5"]), ("[1,2],[3,4]", ["[1,2]", "[3,4]"]), ('{"a": "1,2"}', ['{"a": "1,2"}']), ("1", ["1"]), ("1, 2", ["1", "2"])],
)
def test_commas_within_brackets_separate_nothing(text: str, values: list[str]) -> None:
    assert grid.split(text) == values


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("1e-3", 1e-3), ("76.5/255", 0.3), ("true", True), ("[1,2]", [1, 2]), ("a.b.C", "a.b.C"), ("1/0", "1/0")],
)
def test_values_are_what_they_look_like(text: str, value: Any) -> None:
    assert grid.value(text) == value
    assert type(grid.value(text)) is type(value)


def test_a_run_has_a_readable_folder() -> None:
    assert grid.folder({"objective.weight": "0.50", "epochs": "2"}, 1) == "objective.weight=0.5/epochs=2/seed-1"
    assert grid.folder({}, 0) == "seed-0"
    name = grid.folder({"objective.attack": '{"steps": 4}', "eps": "8/255"}, 0)
    assert name == "objective.attack=-steps-4-/eps=0.03137254902/seed-0"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--objective.weight", "0,x"], ["--objective.weight x", "number"]),
        (["--objective.weight", "0,1,-1"], ["--objective.weight -1", "at least 0"]),
        (["--objective.wieght", "0,1"], ["--objective.wieght", "not accepted"]),
        (["--nothing", "0,1"], ["--nothing"]),
        (["--objective.weight", "0,1", "--epochs", "x"], ["epochs", "x"]),
        (["--objective.weight", "0,1", "--objective.wieght", "1"], ["wieght"]),
        (["--objective.weight", "1"], ["several values", "--objective.weight 0,"]),
        ([], ["several values"]),
        (["--objective.weight", "0,1,1.0"], ["--objective.weight", "1 and 1.0", "same"]),
        (["--objective.weight", "0,1", "--objective.weight", "2"], ["--objective.weight", "twice"]),
        (["--objective.weight", "0,"], ["--objective.weight", "empty"]),
        (["--objective.weight", "0,1/0"], ["--objective.weight", "1/0", "zero"]),
        (["--objective.weight"], ["--objective.weight", "needs a value"]),
        (["0,1"], ["'0,1'", "not an option"]),
        (["--objective.weight", "0,1", "--seeds", "-2"], ["--seeds", "at least 1, not -2"]),
        (["--objective.weight", "0,1", "--seeds", "x"], ["seeds", "x"]),
        (["--objective.weight", "0,1", "--seed", "0,1"], ["--seed", "--seeds"]),
        (["--objective.weight", "0,1", "--seed", "-1"], ["--seed", "-1"]),
        (["--objective.weight", "0,1", "--jobs", "0"], ["--jobs", "at least 1"]),
        (["--objective.weight", "0,1", "--examples", "0"], ["--examples", "at least 1"]),
        (["--objective.weight", "0,1", "--scale", "huge"], ["--scale", "huge", "smoke"]),
        (["--objective.weight", "0,1", "--device", "tpu"], ["--device", "tpu"]),
        (["--objective.weight", "0,1", "--out"], ["--out"]),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(
    options: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "digits-alp", *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(text in line for text in expected), line
    assert not list(tmp_path.iterdir())


def test_the_recipe_comes_first_and_torchrun_is_not_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--objective.weight", "0,1"]) == 2
    assert "recipe comes first" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    assert main(["sweep", "digits-alp", "--objective.weight", "0,1"]) == 2
    assert "torchrun" in capsys.readouterr().err


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_sweep(tmp_path / "sweep", recipe="digits-alp")
    before = (folder / "sweep.json").read_bytes()
    for recipe, options in (
        ("digits-mpgd", ["--objective.clean_weight", "0,0.5"]),
        ("digits-alp", ["--objective.weight", "0,0.5", "--seeds", "2"]),  # without 2
        ("digits-alp", ["--objective.weight", "0,0.5,2"]),  # without seed 1
    ):
        assert main(["sweep", recipe, *options, "--out", str(folder)]) == 2
        assert "another folder" in capsys.readouterr().err
    assert (folder / "sweep.json").read_bytes() == before


def test_means_and_deviation_over_seeds_by_hand() -> None:
    spread = record.spread([0.5, 0.6, 0.7])
    assert spread is not None
    assert (spread.mean, spread.min, spread.max, spread.std) == pytest.approx((0.6, 0.5, 0.7, 0.1))
    assert record.spread([0.5]) == Spread(mean=0.5, min=0.5, max=0.5)
    assert record.spread([]) is None
    point = {"objective.weight": 1}
    (summary,) = record.summarize([entry(point, 0, 0.4, 100), entry(point, 1, 0.6, 120), failed_entry(point, 2, "diverged")])
    assert (summary.settings, summary.runs, summary.finished, summary.failed) == (point, 3, 2, 1)
    white_box, held_out = summary.white_box, summary.validation_white_box
    assert white_box is not None
    assert held_out is not None
    assert (white_box.mean, white_box.min, white_box.max) == pytest.approx((0.55, 0.5, 0.6))
    assert white_box.std == pytest.approx(statistics.stdev([0.5, 0.6]))
    assert held_out.mean == pytest.approx(0.5)


def test_a_value_written_in_two_ways_is_one_point() -> None:
    one, other = entry({"w": 1}, 0, 0.2, 10), entry({"w": 1.0}, 1, 0.4, 10)
    assert one.path.rpartition("/")[0] == other.path.rpartition("/")[0]
    (point,) = record.summarize([one, other])
    assert (point.settings, point.runs) == ({"w": 1}, 2)


def test_the_best_point_is_chosen_by_held_out_images_never_by_test_images(tmp_path: Path) -> None:
    results = record.read(make_sweep(tmp_path))
    by_test = max(results.points, key=lambda point: point.white_box.mean if point.white_box else 0)
    assert by_test.settings == {"objective.weight": 2}
    assert results.best is not None
    assert results.best.settings == {"objective.weight": 0.5}
    assert results.best.validation_white_box == pytest.approx(0.65)


def test_a_point_of_which_a_run_failed_is_not_chosen() -> None:
    failed = failed_entry({"w": 1}, 1, "diverged")
    runs = [entry({"w": 0}, 0, 0.2, 10), entry({"w": 0}, 1, 0.2, 10), entry({"w": 1}, 0, 0.9, 10), failed]
    best = record.best(record.summarize(runs))
    assert best is not None
    assert best.settings == {"w": 0}
    assert record.best(record.summarize([failed])) is None


def test_a_run_is_finished_as_long_as_its_files_and_its_request_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "validation_clean": 0.9, "validation_white_box": 0.25}\n')
    write_record(tmp_path / "training.json", TRAINING)
    path = tmp_path / "evaluation" / "test" / "results.json"
    write_record(path, EVALUATION)
    planned = SweepRun(path="w=0/seed-0", settings={"w": 0}, seed=0, evaluation={"examples": 200}, status="pending")
    run = record.finished(planned, tmp_path)
    assert (run.status, run.validation_white_box, run.evaluated) == ("finished", 0.25, EVALUATION.created)
    assert run.white_box is not None
    assert run.white_box.parameters == EVALUATION.attacks["pgd"].parameters
    assert record.still_finished(run, planned, tmp_path)
    assert not record.still_finished(planned, planned, tmp_path)
    assert not record.still_finished(run, replace(planned, evaluation={"examples": 100}), tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(InputError, match="unfinished run; delete it"):
        record.finished(planned, tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "validation_clean": 0.9, "validation_white_box": 0.25}\n')
    write_record(path, replace(EVALUATION, created="2027-01-01T00:00:00+00:00"))
    assert not record.still_finished(run, planned, tmp_path)
    path.unlink()
    assert not record.still_finished(run, planned, tmp_path)
    with pytest.raises(InputError, match=r"results\.json' is missing"):
        record.finished(planned, tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema": 9}', '{"schema": 2}', '{"schema": 2, "kind": "sweep", "recipe": "r", "axes": 5}']
)
def test_a_damaged_sweep_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(InputError, match="sweep.json"):
        load_sweep(tmp_path)


def test_the_record_is_whole_json(tmp_path: Path) -> None:
    content = json.loads((make_sweep(tmp_path) / "sweep.json").read_text())
    assert (content["kind"], content["schema"]) == ("sweep", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


def test_the_folder_of_a_run_is_not_mixed_with_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("run: {}")
    assert main(["sweep", "digits-alp", "--objective.weight", "0,1", "--out", str(tmp_path)]) == 2
    assert "holds a single run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
