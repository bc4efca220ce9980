"""What run directories and records hold, and how the one becomes the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade_results import CERTIFICATE, EVALUATION, TRAINING, evaluation_keeping
from handmade_sweeps import make_sweep
from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.reproduction.record_files import FILES, RECORDED, in_records, in_run_directory, keep, keep_sweep, recorded_sweep
from logitpair.storage.result_files import write_record
from logitpair.storage.results import AuditResults, CertificateResults, EvaluationResults, Training
from logitpair.sweeps import record
from logitpair.sweeps.record import read


def test_a_sweep_is_added_to_what_is_recorded_of_it(tmp_path: Path) -> None:
    def kept(weight: str, seed: int, *, is_run: bool) -> list[tuple[str, str]]:
        run = PlannedRun("mnist-clp", (("objective.weight", weight),), seed)
        folder = tmp_path / "runs" / run.path("cpu")
        if is_run:
            write_record(folder / FILES[EvaluationResults], EVALUATION)
            write_record(folder / FILES[Training], TRAINING)
            (folder / "metrics.jsonl").write_text('{"step": 1, "validation_clean": 0.9, "validation_white_box": 0.5}\n')
        keep(folder, tmp_path / "results" / run.path("cpu"))
        keep_sweep([run], "cpu", tmp_path / "runs", tmp_path / "results")
        sweep = read(tmp_path / "results" / "mnist-clp" / "cpu")
        assert sweep.axes[0].values == tuple(dict.fromkeys(entry.settings["objective.weight"] for entry in sweep.runs))
        return [(entry.path, entry.status) for entry in sweep.runs]

    first, second = ("objective.weight=0.5/seed-0", "finished"), ("objective.weight=0.5/seed-1", "pending")
    assert kept("0.5", 0, is_run=True) == [first]
    (tmp_path / "runs").rename(tmp_path / "elsewhere")  # where another call would not find it
    assert kept("0.5", 1, is_run=False) == [first, second]
    third = ("objective.weight=1/seed-1", "finished")
    assert kept("1", 1, is_run=True) == [first, third], "what is not finished is kept only while it is wanted"
    assert kept("0.5", 1, is_run=True) == [first, third, (second[0], "finished")]


def test_what_cannot_be_read_counts_as_none_in_a_run_directory_and_is_refused_among_records(tmp_path: Path) -> None:
    assert in_records(tmp_path, AuditResults) is None
    (tmp_path / "audit").mkdir()
    for path, content in ((FILES[AuditResults], "{"), (RECORDED[AuditResults], '{"schema": 999}')):
        (tmp_path / path).write_text(content)
    assert in_run_directory(tmp_path, AuditResults) is None
    with pytest.raises(InputError, match=r"^'.*audit.json' was written by another version .*; move it away"):
        in_records(tmp_path, AuditResults)


def test_a_certificate_is_kept_beside_the_evaluation_of_its_network_alone(tmp_path: Path) -> None:
    run, kept = tmp_path / "run", tmp_path / "results" / RECORDED[CertificateResults]
    own = replace(CERTIFICATE, training=TRAINING, weights=EVALUATION.weights)
    write_record(run / FILES[CertificateResults], own)
    write_record(run / FILES[EvaluationResults], replace(EVALUATION, training=TRAINING))
    keep(run, kept.parent, besides=[EvaluationResults])
    assert not kept.exists(), "its evaluation is not there"
    for changes in ({"weights": "of another network"}, {"training": replace(TRAINING, seconds=1.0)}):
        write_record(run / FILES[CertificateResults], replace(own, **changes))
        keep(run, kept.parent)
        assert not kept.exists(), changes
    write_record(run / FILES[CertificateResults], own)
    keep(run, kept.parent)
    assert kept.exists()
    (run / FILES[CertificateResults]).unlink()
    keep(run, kept.parent)
    assert kept.exists(), "it is still of that network"
    write_record(run / FILES[EvaluationResults], replace(EVALUATION, training=replace(TRAINING, seconds=1.0)))
    keep(run, kept.parent)
    assert not kept.exists(), "the network was trained anew"
    write_record(kept, own)
    (kept.parent / RECORDED[EvaluationResults]).write_text("{")
    (run / FILES[EvaluationResults]).unlink()
    keep(run, kept.parent)
    assert kept.exists(), "what its evaluation was cannot be read"


def test_a_recorded_sweep_is_of_the_runs_that_are_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "mnist-clp" / "cpu"
    assert recorded_sweep(folder) is None
    path = make_sweep(folder, scale="cpu") / "sweep.json"
    assert recorded_sweep(folder) is None, "none of its runs is recorded"
    first, second, *_ = read(folder).runs
    for entry in (first, second):
        assert entry.white_box
        results = evaluation_keeping(entry.white_box.correct, created=entry.evaluated, clean=entry.clean)
        write_record(folder / entry.path / "results.json", results)
    found = recorded_sweep(folder)
    assert found is not None
    assert found.runs[:2] == (first, second)
    assert {(run.status, run.white_box) for run in found.runs[2:]} == {("pending", None)}, "they are not recorded"
    assert [(point.finished, point.runs) for point in found.points] == [(2, 2), (0, 2), (0, 2)]
    assert found.best is not None
    without = recorded_sweep(folder, [folder / second.path / "results.json"])
    assert without is not None
    assert [(point.finished, point.runs) for point in without.points] == [(1, 2), (0, 2), (0, 2)]
    assert without.best is None, "the mean over some of the seeds would flatter"
    write_record(folder / second.path / "results.json", replace(results, created="2027"))
    assert recorded_sweep(folder) == without, "the second is of another evaluation"
    write_record(folder / first.path / "results.json", replace(results, created=first.evaluated))
    with pytest.raises(InputError, match=rf"^'{path}' and '.*{first.path}' contradict each other; move one away"):
        recorded_sweep(folder)
    whole = path.read_text()
    path.write_text(whole.replace('"objective.weight": 2', '"objective.weight": 3'))
    with pytest.raises(InputError, match=r"sweep.json' is damaged .*is no point of the axes"):
        recorded_sweep(folder)
    path.write_text(whole.replace("mnist-clp", "mnist-squeezing"))
    with pytest.raises(InputError, match=rf"^'{path}' is of mnist-squeezing, scale cpu; move it to where it belongs$"):
        recorded_sweep(folder)


def test_a_run_of_a_sweep_whose_folder_is_another_point_is_left_out(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "mnist-clp" / "cpu", scale="cpu")
    sweep = read(folder)
    first, *others = sweep.runs
    assert first.white_box
    results = evaluation_keeping(first.white_box.correct, created=first.evaluated, clean=first.clean)
    for place in (first.path, "elsewhere/seed-0"):
        write_record(folder / place / "results.json", results)
    record.write(folder, sweep, [replace(first, path="elsewhere/seed-0"), *others])
    assert recorded_sweep(folder) is None
