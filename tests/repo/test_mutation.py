"""``make mutants``: its files and tests exist, and its operators change one expression of the code and nothing of its messages."""

from __future__ import annotations

import ast
import sys

import pytest
from documents import ROOT

sys.path.insert(0, str(ROOT))

from tests.mutation.faults import FAULTS
from tests.mutation.operators import changes
from tests.mutation.targets import TARGETS

SOURCE = '''
def clipped(x: "Tensor", low: float = 0.0) -> "Tensor":
    """Between 0 and 1."""
    if x.max() > 1 and not x.isfinite().all():
        raise ValueError("1 + 1")
    return torch.clamp(x - low, 0, 1).sum(1)
'''


def test_each_change_is_valid_code_and_changes_something() -> None:
    found = changes(SOURCE)
    for change in found:
        assert ast.dump(ast.parse(change.applied(SOURCE))) != ast.dump(ast.parse(SOURCE))
    made = {(change.operator, change.old, change.new) for change in found}
    assert ("comparison", "x.max() > 1", "(x.max() >= 1)") in made
    assert ("arithmetic", "x - low", "(x + low)") in made
    assert ("clamp dropped", "torch.clamp(x - low, 0, 1)", "(x - low)") in made
    assert not [change for change in found if change.line in (2, 3, 5) and change.old != "0.0"], "a message or an annotation was changed"


@pytest.mark.parametrize("file", TARGETS)
def test_every_target_and_its_tests_exist(file: str) -> None:
    assert (ROOT / "src" / "logitpair" / file).exists()
    for run in TARGETS[file][1]:
        assert all((ROOT / argument).exists() for argument in run if argument.startswith("tests/"))


def test_a_hundred_faults_can_be_planted() -> None:
    assert sum(number for number, _ in TARGETS.values()) >= 100
    assert {fault.file for fault in FAULTS} <= TARGETS.keys()
    missing = [fault.old for fault in FAULTS if (ROOT / "src" / "logitpair" / fault.file).read_text().count(fault.old) != 1]
    assert len(missing) < len(FAULTS) / 4, f"the code has moved on: adapt tests/mutation/faults.py ({missing})"
