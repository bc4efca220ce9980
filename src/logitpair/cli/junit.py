"""Results as JUnit XML, the form in which build servers show tests. Imports no torch."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from logitpair.evaluation.confidence import percent
from logitpair.storage.results import Accuracy, AuditResults, CertificateResults, EvaluationResults, Finding

DOUBTFUL = ("overestimated", "inconclusive")
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class _Case:
    """A test case: what was measured, and why it failed or was skipped where it did."""

    name: str
    measured: str
    outcome: Literal["passed", "failure", "skipped"] = "passed"
    why: str = ""
    seconds: float | None = None


def junit(
    record: AuditResults | CertificateResults | EvaluationResults,
    name: str,
    *,
    fail_under: float | None = None,
    fail_on: Collection[str] = DOUBTFUL,
) -> bytes:
    """An audit or an evaluation as a JUnit XML file with one test suite.

    An audit has a test case for its robust accuracy, one for its verdict and one for each check; an evaluation one for each white-box
    attack and one for the worst of them; a certificate one for its certified accuracy.

    Args:
        record: ``audit.record``, ``certificate.record`` or ``evaluation.record``.
        name: of what was measured, such as its run directory.
        fail_under: the accuracies below it fail, a fraction; without it their test cases are skipped.
        fail_on: the verdicts that fail; another one but ``trustworthy`` is skipped.
    """
    match record:
        case AuditResults():
            kind, cases = "audit", _of_audit(record, fail_under, fail_on)
        case CertificateResults():
            kind, cases = "certificate", [_held(*judged(record), fail_under)]
        case EvaluationResults():
            kind, cases = "evaluation", _of_evaluation(record, fail_under)
    failures, skipped = (str(sum(case.outcome == outcome for case in cases)) for outcome in ("failure", "skipped"))
    counts = {"tests": str(len(cases)), "failures": failures, "errors": "0", "time": f"{record.wall_time_seconds:.3f}"}
    suites = ElementTree.Element("testsuites", {"name": "logitpair", **counts})
    about = {"name": _text(f"logitpair {kind} {name}"), "skipped": skipped, "timestamp": record.created.removesuffix("+00:00")}
    suite = ElementTree.SubElement(suites, "testsuite", about | counts)
    for case in cases:
        time = {} if case.seconds is None else {"time": f"{case.seconds:.3f}"}
        element = ElementTree.SubElement(suite, "testcase", {"classname": _text(f"{name}.{kind}"), "name": _text(case.name), **time})
        if case.outcome != "passed":
            ElementTree.SubElement(element, case.outcome, message=_text(case.why)).text = _text(case.why)
        ElementTree.SubElement(element, "system-out").text = _text(case.measured)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n"


def judged(record: AuditResults | CertificateResults | EvaluationResults) -> tuple[str, Accuracy]:
    """The accuracy that ``--fail-under`` is about, and what it is called."""
    if isinstance(record, AuditResults):
        return "robust accuracy", record.robust_accuracy
    if isinstance(record, CertificateResults):
        return "certified accuracy", record.certified
    return ("white-box worst case", record.white_box) if record.white_box else ("white box, any attack", record.white_box_union)


def shortfall(accuracy: Accuracy, fail_under: float | None) -> str:
    """By how much an accuracy is below the threshold, in words; empty where it is not."""
    if fail_under is None or accuracy.top1 >= fail_under:
        return ""
    return f"{_measured(accuracy)} is {100 * (fail_under - accuracy.top1):.3g} points below the {100 * fail_under:.6g}% of --fail-under"


def _of_audit(record: AuditResults, fail_under: float | None, fail_on: Collection[str]) -> list[_Case]:
    verdict = f"{record.verdict}: {record.reason}"
    if record.verdict == "trustworthy":
        judgement = _Case("verdict", verdict)
    elif record.verdict in fail_on:
        judgement = _Case("verdict", verdict, "failure", verdict)
    else:
        judgement = _Case("verdict", verdict, "skipped", f"{verdict} (not a verdict of --fail-on)")
    return [_held(*judged(record), fail_under), judgement, *map(_of_check, record.findings)]


def _of_check(found: Finding) -> _Case:
    name = f"check {found.check}"
    return _Case(name, found.evidence) if found.passed else _Case(name, found.evidence, "failure", f"{found.evidence}. {found.advice}")


def _of_evaluation(record: EvaluationResults, fail_under: float | None) -> list[_Case]:
    attacks = [_held(f"white box, {name}", attack, fail_under, attack.seconds) for name, attack in record.attacks.items()]
    return [*attacks, _held(*judged(record), fail_under)]


def _held(name: str, accuracy: Accuracy, fail_under: float | None, seconds: float | None = None) -> _Case:
    """The test case of an accuracy that is held against the threshold."""
    measured = _measured(accuracy)
    if fail_under is None:
        return _Case(name, measured, "skipped", f"{measured}; no --fail-under to hold it against", seconds)
    short = shortfall(accuracy, fail_under)
    return _Case(name, measured, "failure" if short else "passed", short, seconds)


def _measured(accuracy: Accuracy) -> str:
    low, high = map(percent, accuracy.ci95)
    return f"{percent(accuracy.top1)}% ({accuracy.correct:,} of {accuracy.total:,} images, 95% interval {low} - {high}%)"


def _text(text: str) -> str:
    """The text with what XML cannot hold, such as control characters, replaced."""
    return NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
