"""JUnit XML as build servers read it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import handmade_audits
import handmade_runs
import pytest

from logitpair.cli.junit import junit
from logitpair.storage.results import Accuracy, AuditResults, EvaluationResults

# What Jenkins' schema (junit-10.xsd) and GitLab's parser share: for each element its required attributes, the others, and its children.
FORM: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": ({"name", "tests", "failures", "errors", "time"}, set(), {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}, set(), {"testcase"}),
    "testcase": ({"name", "classname"}, {"time"}, {"failure", "skipped", "system-out"}),
    "failure": ({"message"}, set(), set()),
    "skipped": ({"message"}, set(), set()),
    "system-out": (set(), set(), set()),
}


def read(record: AuditResults | EvaluationResults, name: str = "runs/a", **options: Any) -> dict[str, ElementTree.Element]:
    """The test cases by name, of a file that has the common form and counts right."""
    content = junit(record, name, **options)
    root = ElementTree.fromstring(content)  # noqa: S314
    assert content.startswith(b"<?xml")
    assert (root.tag, len(root)) == ("testsuites", 1)
    for element in root.iter():
        required, optional, children = FORM[element.tag]
        assert required <= set(element.keys()) <= required | optional, element.tag
        assert {child.tag for child in element} <= children, element.tag
    suite = root[0]
    assert suite.get("tests") == root.get("tests") == str(len(suite))
    assert suite.get("failures") == root.get("failures") == str(len(suite.findall("testcase/failure")))
    assert suite.get("skipped") == str(len(suite.findall("testcase/skipped")))
    assert float(suite.get("time", "")) == record.wall_time_seconds
    cases = {case.get("name", ""): case for case in suite}
    assert len(cases) == len(suite), "build servers show the first of two test cases with one name"
    assert all(len(case.findall("failure") + case.findall("skipped")) <= 1 for case in suite)
    assert all(case.findtext("system-out") for case in suite)
    return cases


def outcome(case: ElementTree.Element) -> str:
    return next((child.tag for child in case if child.tag != "system-out"), "passed")


def message(case: ElementTree.Element) -> str:
    return case[0].get("message", "")


def test_an_audit() -> None:
    cases = read(handmade_audits.audit(50), fail_under=0.5)
    assert {name: outcome(case) for name, case in cases.items()} == {
        "robust accuracy": "failure",
        "verdict": "failure",
        "check steps": "passed",
        "check black_box": "failure",
        "check repeatable": "failure",
    }
    said = "25.00% (50 of 200 images, 95% interval 19.51 - 31.43%) is 25 points below the 50% of --fail-under"
    assert message(cases["robust accuracy"]) == said
    assert message(cases["verdict"]) == "overestimated: the reason of the verdict"
    assert message(cases["check black_box"]) == "evidence of black_box. advice of black_box"
    assert cases["check steps"].findtext("system-out") == "evidence of steps"
    assert {case.get("classname") for case in cases.values()} == {"runs/a.audit"}


@pytest.mark.parametrize(
    ("verdict", "fail_on", "expected"),
    [
        ("trustworthy", ("overestimated", "inconclusive"), "passed"),
        ("inconclusive", ("overestimated", "inconclusive"), "failure"),
        ("inconclusive", ("overestimated",), "skipped"),
        ("overestimated", ("inconclusive",), "skipped"),
    ],
)
def test_the_verdict(verdict: str, fail_on: tuple[str, ...], expected: str) -> None:
    assert outcome(read(handmade_audits.audit(150, verdict), fail_on=fail_on)["verdict"]) == expected


@pytest.mark.parametrize(("fail_under", "expected"), [(None, "skipped"), (0.0, "passed"), (0.25, "passed"), (0.2501, "failure")])
def test_an_accuracy_at_the_threshold_is_not_below_it(fail_under: float | None, expected: str) -> None:
    assert outcome(read(handmade_audits.audit(50), fail_under=fail_under)["robust accuracy"]) == expected


def test_an_evaluation() -> None:
    cases = read(handmade_runs.suite(), fail_under=0.6)
    assert {name: outcome(case) for name, case in cases.items()} == {
        "white box, pgd": "failure",
        "white box, step": "passed",
        "white-box worst case": "failure",
    }
    assert cases["white box, pgd"].get("time") == "12.000"
    assert set(map(outcome, read(handmade_runs.suite()).values())) == {"skipped"}


def test_of_the_worst_case_alone_there_is_one_case() -> None:
    cases = read(handmade_runs.in_turn(), fail_under=0.5)
    assert {name: outcome(case) for name, case in cases.items()} == {"white box, any attack": "failure"}
    assert "90 of 200 images" in message(cases["white box, any attack"])


def test_a_shortfall_is_never_nothing() -> None:
    nearly = Accuracy(top1=0.499999, correct=499_999, total=1_000_000, ci95=(0.49902, 0.50098))
    everywhere = dict.fromkeys(("clean", "robust_accuracy", "robust_accuracy_8_bit"), nearly)
    said = message(read(handmade_audits.audit(0, examples=1_000_000, **everywhere), fail_under=0.5)["robust accuracy"])
    assert "499,999 of 1,000,000 images" in said
    assert "is 0.0001 points below" in said


def test_what_xml_cannot_hold_is_replaced() -> None:
    strange = "run \x1b[1m<&\"'> \N{SNOWMAN} \udcff\ufffe"
    audit = handmade_audits.audit(0, reason=strange)
    cases = read(audit, strange)
    assert cases["verdict"].findtext("system-out") == "overestimated: run \ufffd[1m<&\"'> \N{SNOWMAN} \ufffd\ufffd"
