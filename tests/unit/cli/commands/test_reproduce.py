"""What ``logitpair reproduce`` takes and refuses, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade_results import TRAINING, against, audit_of

from logitpair.cli.main import main
from logitpair.errors import InputError
from logitpair.reproduction.paper import TARGETS
from logitpair.reproduction.plan import Plan
from logitpair.reproduction.record_files import FILES
from logitpair.storage.result_files import write_record
from logitpair.storage.results import AuditResults, EvaluationResults, Training


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["table12"], ["table12", "table1"]),
        (["table2", "--scale", "cpu"], ["--scale", "svhn-mpgd", "smoke"]),
        (["all", "--scale", "huge"], ["--scale", "huge", "smoke, cpu, paper"]),
        (["table1", "--seeds", "0"], ["--seeds", "at least 1"]),
        (["table1", "--seeds", "9" * 30], ["--seeds", "at most 1,000"]),
        (["table1", "--jobs", "0"], ["--jobs", "at least 1"]),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], named: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *words, "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    assert all(word in line for word in named)
    assert not (tmp_path / "out").exists()


def test_all_is_what_has_the_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "all", "--scale", "cpu", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "imagenet-alp-resnet101/cpu/seed-0" in out
    assert "svhn" not in out
    assert main(["reproduce", *TARGETS, "--scale", "smoke", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "svhn-clp/smoke/seed-1" in capsys.readouterr().out


def finish(plan: Plan) -> None:
    """Write what the steps of all runs but one would leave."""
    for run in plan.runs:
        if run.recipe != "mnist-noise":
            write_record(plan.folder(run) / FILES[Training], TRAINING)
            write_record(plan.folder(run) / FILES[EvaluationResults], against(run, run.recipe))
            write_record(plan.folder(run) / FILES[AuditResults], audit_of(run.recipe))


@pytest.mark.parametrize(("error", "code"), [(InputError("--data-dir: no images"), 2), (KeyboardInterrupt("stopped"), 130)])
def test_a_table_that_is_whole_has_its_page_when_another_stops(
    error: BaseException, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def carry_out(plan: Plan, **_: object) -> dict[str, str]:
        finish(plan)
        raise error

    monkeypatch.setattr("logitpair.reproduction.carry_out.carry_out", carry_out)
    monkeypatch.setattr("logitpair.reproduction.carry_out.prepare", lambda *_: None)
    assert main(["reproduce", "table1", "figure1", "--scale", "smoke", "--out", str(tmp_path)]) == code
    assert "Wrote" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "smoke").iterdir()) == ["table1.html", "table1.md"]
    assert (tmp_path / "results" / "mnist-alp" / "smoke" / "seed-0" / "audit.json").exists()


def test_what_would_stop_it_at_the_end_is_refused_at_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("logitpair.reproduction.carry_out.carry_out", lambda *_, **__: pytest.fail("began"))
    records = tmp_path / "records"
    words = ["reproduce", "table1", "--scale", "smoke", "--out", str(tmp_path / "out"), "--records"]
    record = records / "mnist-alp" / "smoke" / "seed-7" / "results.json"  # of a seed that is not asked for, and on the page
    record.parent.mkdir(parents=True)
    record.write_text('{"schema": 3}')
    assert main([*words, str(records)]) == 2
    assert f"'{record}' was written by another version" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([*words, str(tmp_path / "file" / "records")]) == 2
    assert "--records: " in (line := capsys.readouterr().err)
    assert "cannot be written" in line
    assert not (tmp_path / "out").exists()


def test_a_refusal_before_the_first_step_writes_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(plan: Plan, device: object) -> None:
        finish(plan)
        raise InputError("--out: was begun with other settings")

    monkeypatch.setattr("logitpair.reproduction.carry_out.prepare", prepare)
    assert main(["reproduce", "table1", "--scale", "smoke", "--out", str(tmp_path)]) == 2
    assert "Wrote" not in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"runs", ".lock"}
