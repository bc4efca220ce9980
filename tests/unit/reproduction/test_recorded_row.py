"""What is recorded of a row, and what its seeds come to."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade_results import EVALUATION, TRAINING, audit_of, evaluation_of, keeping
from handmade_runs import in_turn
from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.evaluation.confidence import Share, wilson
from logitpair.reproduction.paper import Row, Target
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.reproduction.record_files import FILES, keep
from logitpair.reproduction.recorded_row import RecordedRow, accuracy, mean
from logitpair.storage.result_files import write_record
from logitpair.storage.results import Accuracy, AuditResults, BlackBox, EvaluationResults

(SOURCE,) = EVALUATION.black_box
SUITE = EVALUATION.black_box[SOURCE]


def table(row: Row) -> Target:
    return Target(title="a table", rows=(row,), columns=("white_box",))


def of(correct: int, total: int = 200) -> Accuracy:
    return Accuracy(top1=correct / total, correct=correct, total=total, ci95=wilson(correct, total))


def suite(correct: int) -> BlackBox:
    attacks = {name: keeping(correct, attack) for name, attack in SUITE.attacks.items()}
    return replace(keeping(correct, SUITE), attacks=attacks, union=keeping(correct, SUITE.union))


def test_black_box_is_the_worst_of_all_sources_and_nothing_without_one(tmp_path: Path) -> None:
    suites = {"a": suite(100), "b": suite(50), "c": suite(20)}
    results = replace(EVALUATION, black_box=suites)
    found = accuracy(results, "black_box", ("a", "b"))
    assert found is not None
    assert found.top1 == 0.25
    assert accuracy(results, "black_box", ("a", "d")) is None
    assert accuracy(results, "black_box", ()) is None


def test_what_attacks_in_turn_leave_is_not_the_papers_measure() -> None:
    for column in ("white_box", "white_box_top5"):
        assert accuracy(in_turn(), column, ()) is None


def test_top5_is_the_lowest_of_any_attack_as_an_accuracy_of_its_own() -> None:
    results = replace(EVALUATION, white_box=replace(EVALUATION.white_box, top5=0.8))
    found = accuracy(results, "white_box_top5", ())
    assert found is not None
    assert found == Share(0.8, 200, wilson(160, 200))
    assert accuracy(replace(results, white_box=replace(EVALUATION.white_box, top5=None)), "white_box_top5", ()) is None
    clean = accuracy(results, "clean", ())
    assert clean == EVALUATION.clean


def test_the_mean_over_seeds_has_the_interval_of_one_test_set() -> None:
    found = mean([of(100), of(120)])
    assert found is not None
    assert (found.top1, found.total, found.ci95) == (pytest.approx(0.55), 200, pytest.approx(wilson(110, 200)))
    between = mean([of(100), of(101)])
    assert between is not None
    assert between.top1 == pytest.approx(0.5025), "not that of a whole number of images"
    assert mean([]) is None


def test_what_is_kept_is_read_back_by_row_without_paths_of_this_machine(tmp_path: Path) -> None:
    row = Row("squeezing", "mnist-squeezing", settings={"objective.weight": "0.50"})
    records = tmp_path / "results"
    for seed in (2, 0):
        run = PlannedRun.of(row, seed)
        assert run.path("cpu") == Path(f"mnist-squeezing/cpu/objective.weight=0.5/seed-{seed}")
        folder = tmp_path / "runs" / run.path("cpu")
        write_record(folder / FILES[EvaluationResults], replace(evaluation_of(row.recipe, "cpu"), step=seed))
        if seed == 0:
            write_record(folder / FILES[AuditResults], audit_of(row.recipe, "cpu"))
        keep(folder, records / run.path("cpu"))
    measured = RecordedRow.read(table(row), row, "cpu", records)
    assert {seed: results.step for seed, results in measured.evaluations.items()} == {0: 0, 2: 2}
    assert list(measured.audits) == list(measured.audited()) == [0]
    write_record(folder / FILES[EvaluationResults], replace(evaluation_of(row.recipe, "cpu"), step=7))
    keep(folder, records / run.path("cpu"), besides=[EvaluationResults])
    assert RecordedRow.read(table(row), row, "cpu", records) == measured
    assert {source.run for results in measured.evaluations.values() for source in results.sources.values()} == set(EVALUATION.sources)
    assert measured.accuracies(table(row), row, "white_box") == dict.fromkeys((0, 2), EVALUATION.white_box)
    assert RecordedRow.read(table(row), row, "paper", records) == RecordedRow({}, {})
    write_record(
        records / PlannedRun.of(row, 0).path("cpu") / "audit.json",
        replace(audit_of(row.recipe, "cpu"), training=replace(TRAINING, seconds=1.0)),
    )
    assert RecordedRow.read(table(row), row, "cpu", records).audits == {}, "of another network"


def test_a_record_in_the_folder_of_another_recipe_or_of_no_seed(tmp_path: Path) -> None:
    row, evaluation = Row("M-PGD", "mnist-mpgd"), evaluation_of("mnist-mpgd", "cpu")
    folder = tmp_path / "mnist-mpgd" / "cpu"
    for name in ("seed-0", "seed-0.bak", "seed-00", "seed-"):
        write_record(folder / name / "results.json", evaluation)
    assert list(RecordedRow.read(table(row), row, "cpu", tmp_path).evaluations) == [0]
    write_record(folder / "seed-1" / "results.json", replace(evaluation, recipe="mnist-alp"))
    with pytest.raises(InputError, match=r"^'.*seed-1/results.json' is of mnist-alp, scale cpu; move it"):
        RecordedRow.read(table(row), row, "cpu", tmp_path)
