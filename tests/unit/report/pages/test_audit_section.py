"""What the report says of an audit, from results made by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from handmade_audits import add_audit, audit, finding, ledger, reference, search_round, without_figures
from handmade_runs import make_run, page_of, tables
from msgspec.structs import replace

from logitpair.report.pages.audit_section import audit_blocks
from logitpair.report.records import load_run
from logitpair.report.text.commands import commands
from logitpair.storage.results import AuditResults, SourceRun


def blocks(results: AuditResults) -> str:
    return "".join(audit_blocks(results, ledger()))


def test_a_run_with_only_an_audit_is_shown(tmp_path: Path) -> None:
    page = page_of([add_audit(tmp_path / "alone")], tmp_path)
    assert "alone looks 61.0% robust and is not: 0.0% under audit" in page
    assert "The reason of the verdict." in page
    assert "not evaluated yet" not in page.lower()
    (comparison,) = tables(page, "comparison")
    assert comparison[0] == ["Run", "Auditany search", "Clean"]
    assert comparison[1][1].startswith("0.0%")
    assert len(re.findall(r'class="badge overestimated"', page)) == 2  # in the comparison and in the run's section


def test_a_run_without_an_audit_has_none(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert load_run(folder).audit is None
    page = page_of([folder], tmp_path)
    assert 'class="badge' not in page
    assert "Audit" not in page


def test_a_page_of_audited_and_other_runs_says_so(tmp_path: Path) -> None:
    runs = [add_audit(tmp_path / "a"), make_run(tmp_path / "b")]
    (comparison,) = tables(page_of(runs, tmp_path), "comparison")
    assert comparison[0][:3] == ["Run", "Auditany search", "Clean"]
    assert comparison[2][1] == "not audited"
    assert comparison[1][3:] == ["\N{EN DASH}"] * 3


@pytest.mark.parametrize("verdict", ["trustworthy", "overestimated", "inconclusive"])
def test_the_verdict_is_given_in_words_and_by_an_icon(verdict: str) -> None:
    badges = re.findall(r'<span class="badge (\w+)"><svg class="icon".*?</svg>\s*(\w+)</span>', blocks(audit(110, verdict)))
    assert badges == [(verdict, verdict)]


def test_the_bound_on_further_breaks_stands_under_the_verdict_where_it_is_known() -> None:
    before, bound, _ = blocks(audit(110, "trustworthy", further_breaks=5.3)).partition("at most 5.3 more of the 110 images still correct")
    assert bound
    assert "the verdict." in before
    assert "checks failed" not in before
    assert "More search" not in blocks(audit(110, "trustworthy"))


def test_failed_checks_come_first_and_only_they_give_advice() -> None:
    (rows,) = tables(blocks(audit()), "checks")
    assert rows[1:] == [
        ["failed", "repeatable", "evidence of repeatableadvice of repeatable"],
        ["failed", "black box", "evidence of black_boxadvice of black_box"],
        ["passed", "steps", "evidence of steps"],
    ]
    assert "2 of 3 checks failed" in blocks(audit())
    assert "2 checks, all passed" in blocks(audit(110, "trustworthy", findings=(finding("steps"), finding("path"))))


def test_an_audit_without_figures_is_shown(tmp_path: Path) -> None:
    folder = add_audit(tmp_path / "run", *without_figures())
    page = page_of([folder], tmp_path)
    for absent in ("after each search", "Where the reference attack ends", "other radii", "The loss around"):
        assert absent not in page, absent
    (folder / "audit" / "ledger.npz").unlink()
    assert "The reference attack and the audit" in page_of([folder], tmp_path)


def test_an_audit_is_repeated_by_its_command(tmp_path: Path) -> None:
    run = load_run(add_audit(make_run(tmp_path / "pets")))
    assert commands([run], tmp_path / "page.html")[2] == "logitpair audit runs/pets --budget 200 --examples 200 --seed 7"
    other = reference(parameters={"class_path": "logitpair.attacks.PGD", "init_args": {"steps": 9}})
    own = replace(audit(), reference=other, sources={"b": SourceRun(run="/x/b", step=9)}, checkpoint="best", budget=20.5)
    run = load_run(add_audit(tmp_path / "pets", own))
    assert commands([run], tmp_path / "page.html")[2] == (
        "logitpair audit runs/pets --source b=runs/b --attacks ATTACKS.yaml --budget 20.5 --checkpoint best --examples 200 --seed 7"
    )


def test_names_and_words_are_escaped(tmp_path: Path) -> None:
    bad = '<script>"&'
    words = {"reason": bad, "stop_reason": bad, "findings": (finding(bad, passed=False),), "rounds": (search_round(bad, 193, 0, 4.0),)}
    page = page_of([add_audit(tmp_path / "<b>run</b>", audit(**words))], tmp_path)
    assert "<script" not in page
    assert "<b>run" not in page
    assert page.count("&lt;script&gt;") >= 6
