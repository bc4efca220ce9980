"""What ``--fail-under``, ``--fail-on``, ``--json`` and ``--junit`` do with a result, and what is refused of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import handmade_audits
import handmade_runs
import pytest
from command_line import failing

from logitpair.cli.main import main
from logitpair.runtime.progress import console
from logitpair.storage.result_files import write_record
from logitpair.storage.results import AuditResults, DataSet, EvaluationResults

Command = Callable[..., int]
PETS = DataSet(name="pets \N{SNOWMAN}", split="test", class_names=("Zw\N{LATIN SMALL LETTER O WITH DIAERESIS}lf", ":dog:", "[cat]"))


def standing_in(monkeypatch: pytest.MonkeyPatch, path: Path, record: AuditResults | EvaluationResults) -> Command:
    """The command that writes such results, with the record in the place of the work, which prints to standard output."""
    name = "audit" if isinstance(record, AuditResults) else "evaluate"

    def work(*arguments: object) -> Path:
        write_record(path, record)
        print("printed by the user's network")
        console.print("a table")
        return path

    monkeypatch.setattr(importlib.import_module(f"logitpair.cli.commands.{name}"), f"_{name}", work)
    return lambda *options: main([name, "runs/a", *options])


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Command]:
    """The audit of a robust accuracy of 25% with the verdict."""
    return lambda verdict: standing_in(monkeypatch, tmp_path / "results.json", handmade_audits.audit(50, verdict, data=PETS))


@pytest.mark.parametrize(
    ("verdict", "options", "code"),
    [
        ("overestimated", [], 0),
        ("inconclusive", [], 0),
        ("trustworthy", ["--fail-under", "0.25"], 0),
        ("trustworthy", ["--fail-under", "1/3"], 4),
        ("overestimated", ["--fail-under", "0.25"], 0),
        ("overestimated", ["--fail-on", "overestimated"], 5),
        ("overestimated", ["--fail-on", "inconclusive"], 0),
        ("inconclusive", ["--fail-on", "overestimated, inconclusive"], 6),
        ("trustworthy", ["--fail-on", "overestimated,inconclusive"], 0),
        ("inconclusive", ["--fail-on", "inconclusive", "--fail-under", "0.3"], 4),
    ],
)
def test_the_exit_code(audited: Callable[..., Command], verdict: str, options: list[str], code: int) -> None:
    assert audited(verdict)(*options) == code


def test_what_failed_is_said(audited: Callable[..., Command], capsys: pytest.CaptureFixture[str]) -> None:
    audited("inconclusive")("--fail-on", "inconclusive", "--fail-under", "0.3")
    numbers = "25.00% (50 of 200 images, 95% interval 19.51 - 31.43%) is 5 points below the 30% of --fail-under"
    assert capsys.readouterr().err.splitlines() == [
        f"logitpair: failed: robust accuracy {numbers}",
        "logitpair: failed: the verdict is inconclusive, which --fail-on names: the reason of the verdict",
    ]


def test_an_evaluation_is_held_to_its_worst_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = standing_in(monkeypatch, tmp_path / "results.json", handmade_runs.suite())
    assert command("--fail-under", "0.55") == 0
    assert command("--fail-under", "0.56", "--junit", str(tmp_path / "new" / "junit.xml")) == 4
    assert "failed: white-box worst case 55.00% (110 of 200 images" in capsys.readouterr().err
    assert len(ElementTree.parse(tmp_path / "new" / "junit.xml").findall("testsuite/testcase/failure")) == 2  # noqa: S314


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--fail-under", "1"], 4)])
def test_json_has_standard_output_to_itself(
    audited: Callable[..., Command], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int
) -> None:
    assert audited("trustworthy")("--json", *options) == code
    captured = capsys.readouterr()
    assert json.loads(captured.out) == json.loads((tmp_path / "results.json").read_text())
    assert captured.out.isascii()
    assert captured.err.startswith("printed by the user's network\na table\n")


def test_junit_without_fail_on_shows_a_doubtful_verdict_as_failed(audited: Callable[..., Command], tmp_path: Path) -> None:
    def failures(*options: str) -> set[str]:
        assert audited("inconclusive")("--junit", str(tmp_path / "junit.xml"), *options) == 0
        cases = ElementTree.parse(tmp_path / "junit.xml").findall("testsuite/testcase[failure]")  # noqa: S314
        return {name for case in cases if "check" not in (name := case.get("name", ""))}

    assert failures() == {"verdict"}
    assert failures("--fail-on", "overestimated") == set()


@pytest.mark.parametrize("name", ["audit", "evaluate"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fail-under", "50"], "--fail-under: '50' is no accuracy; accepted: from 0 to 1, such as 0.5 for 50%"),
        (["--fail-under", "50%"], "--fail-under: '50%' is no accuracy; accepted: from 0 to 1, such as 0.5 for 50%"),
        (["--fail-under", "nan"], "--fail-under: 'nan' is no accuracy"),
        (["--fail-under=-0.1"], "--fail-under: '-0.1' is no accuracy"),
        (["--fail-under", "1/0"], "--fail-under: '1/0' is no accuracy"),
        (["--fail-under", ""], "--fail-under: '' is empty; accepted: a value, or no --fail-under"),
        (["--junit="], "--junit: '' is empty; accepted: a value, or no --junit"),
        (["--junit", "."], "--junit: '.' is a folder; accepted: a file, such as junit.xml"),
        (["--junit", "/dev/null"], "--junit: '/dev/null' is no file; accepted: a file"),
        (["--junit", "a/results.json"], "--junit: 'a/results.json' does not end in .xml; accepted: a file such as a/junit.xml"),
        (["--junit", f"{__file__}/junit.xml"], f"cannot be written, since '{__file__}' is no folder"),
        (["--fail-unde", "1"], "no option --fail-unde; did you mean --fail-under?"),
    ],
)
def test_what_cannot_be_met_is_refused_at_once(capsys: pytest.CaptureFixture[str], name: str, options: list[str], said: str) -> None:
    assert said in failing(capsys, name, "runs/nowhere", *options)


def test_what_goes_with_one_command_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--fail-on: 'trustworthy' is not accepted; accepted: overestimated, inconclusive" in failing(
        capsys, "audit", "runs/nowhere", "--fail-on", "trustworthy"
    )
    for option in (["--fail-under", "0"], ["--json"], ["--junit", "junit.xml"]):
        assert f"{option[0]} goes with attacking" in failing(capsys, "evaluate", "runs/nowhere", "--verify", *option)


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    assert f"since '{tmp_path}' is read-only" in failing(capsys, "audit", "a", "--junit", str(tmp_path / "new" / "junit.xml"))
