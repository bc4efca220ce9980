"""What run directories and records hold, and how the one becomes the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade_results import EVALUATION, TRAINING, evaluation_keeping
from handmade_sweeps import make_sweep
from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.reproduction.record_files import FILES, RECORDED, in_records, in_run_directory, keep_sweep, recorded_sweep
from logitpair.storage.result_files import write_record
from logitpair.storage.results import AuditResults, EvaluationResults, Training
from logitpair.sweeps.record import read


def test_a_sweep_is_added_to_what_is_recorded_of_it(tmp_path: Path) -> None:
    def kept(weight: str, seed: int, *, is_run: bool) -> list[tuple[str, str]]:
        run = PlannedRun("mnist-clp", (("objective.weight", weight),), seed)
        folder = tmp_path / "runs" / run.path("cpu")
        if is_run:
            write_record(folder / FILES[EvaluationResults], EVALUATION)
            write_record(folder / FILES[Training], TRAINING)
            (folder / "metrics.jsonl").write_text('{"step": 1, "validation_clean": 0.9, "validation_white_box": 0.5}\n')
        keep_sweep([run], "cpu", tmp_path / "runs", tmp_path / "results")
        sweep = read(tmp_path / "results" / "mnist-clp" / "cpu")
        assert sweep.axes[0].values == tuple(dict.fromkeys(entry.settings["objective.weight"] for entry in sweep.runs))
        return [(entry.path, entry.status) for entry in sweep.runs]

    first, second = ("objective.weight=0.5/seed-0", "finished"), ("objective.weight=0.5/seed-1", "pending")
    assert kept("0.5", 0, is_run=True) == [first]
    (tmp_path / "runs").rename(tmp_path / "elsewhere")  # where another call would not find it
    assert kept("0.5", 1, is_run=False) == [first, second]
    assert kept("1", 1, is_run=True) == [first, second, ("objective.weight=1/seed-1", "finished")]
    assert kept("0.5", 1, is_run=True)[1] == (second[0], "finished")


def test_what_cannot_be_read_counts_as_none_in_a_run_directory_and_is_refused_among_records(tmp_path: Path) -> None:
    assert in_records(tmp_path, AuditResults) is None
    (tmp_path / "audit").mkdir()
    for path, content in ((FILES[AuditResults], "{"), (RECORDED[AuditResults], '{"schema": 999}')):
        (tmp_path / path).write_text(content)
    assert in_run_directory(tmp_path, AuditResults) is None
    with pytest.raises(InputError, match=r"^'.*audit.json' was written by another version .*; move it away"):
        in_records(tmp_path, AuditResults)


def test_a_recorded_sweep_says_what_is_recorded_of_its_runs(tmp_path: Path) -> None:
    assert recorded_sweep(tmp_path) is None
    path = make_sweep(tmp_path, scale="cpu") / "sweep.json"
    sweep = recorded_sweep(tmp_path)
    assert sweep is not None
    entry = sweep.runs[0]
    assert entry.white_box
    results = evaluation_keeping(entry.white_box.correct, created=entry.evaluated, clean=entry.clean)
    write_record(tmp_path / entry.path / "results.json", results)
    assert recorded_sweep(tmp_path) == sweep
    write_record(tmp_path / entry.path / "results.json", replace(results, clean=EVALUATION.clean))
    with pytest.raises(InputError, match=rf"^'.*sweep.json' and '.*{entry.path}' contradict each other; move one away"):
        recorded_sweep(tmp_path)
    write_record(tmp_path / entry.path / "results.json", replace(results, clean=EVALUATION.clean, created="2027"))
    assert recorded_sweep(tmp_path) == sweep, "which is of another evaluation"
    path.write_text(path.read_text().replace('"objective.weight": 2', '"objective.weight": 3'))
    with pytest.raises(InputError, match=r"^'.*sweep.json' is damaged .*is no point of the axes"):
        recorded_sweep(tmp_path)
