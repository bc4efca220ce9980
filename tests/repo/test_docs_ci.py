"""docs/how-to/ci.md: its workflow and its job parse, gate by the same command, and that command is one that audit takes."""

from __future__ import annotations

import shlex

import documents
import pytest
import yaml

from logitpair.cli.gate import Gate
from logitpair.cli.parser import parse

GITHUB, GITLAB = (yaml.safe_load(block) for language, block in documents.blocks("docs/how-to/ci.md") if language == "yaml")


def commands() -> list[list[str]]:
    """The words of the audit in each."""
    steps = [step["run"] for step in GITHUB["jobs"]["audit"]["steps"] if "run" in step]
    return [shlex.split(line) for line in [*steps, *GITLAB["audit"]["script"]] if line.startswith("logitpair ")]


def test_both_gate_by_the_same_command() -> None:
    github, gitlab = commands()
    assert github == gitlab
    program, *arguments = github
    run, parsed = parse(arguments)
    assert (program, run.__module__) == ("logitpair", "logitpair.cli.commands.audit")
    gate = Gate.of(parsed)
    assert (gate.fail_under, sorted(gate.fail_on)) == (0.4, ["inconclusive", "overestimated"])
    assert str(parsed.junit) == GITLAB["audit"]["artifacts"]["reports"]["junit"]
    assert [str(parsed.out)] == GITLAB["audit"]["artifacts"]["paths"]


@pytest.mark.parametrize("step", [step for step in GITHUB["jobs"]["audit"]["steps"] if "uses" in step])
def test_results_are_kept_where_the_audit_writes_them(step: dict) -> None:
    assert step["uses"].partition("@")[0] in ("actions/checkout", "actions/setup-python", "actions/upload-artifact")
    if "upload" in step["uses"]:
        assert step["with"]["path"] == "runs/audit"
        assert "cancelled" in step["if"], "also where the gate is closed"
