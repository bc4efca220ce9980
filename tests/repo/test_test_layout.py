"""Every file of unit tests is named after the module that it tests."""

from __future__ import annotations

from pathlib import Path

import pytest

import logitpair

UNIT = Path(__file__).parents[1] / "unit"
SOURCE = Path(logitpair.__file__).parent
OF_NO_MODULE = {  # but of a whole wing
    "attacks/test_known_pitfalls.py",  # what attacks of other libraries got wrong
    "auditing/test_calibration.py",  # the audit on networks whose robustness is known
    "cli/test_startup.py",  # what each command loads
}
FILES = sorted(path.relative_to(UNIT).as_posix() for path in UNIT.rglob("test_*.py"))


def test_the_exceptions_are_there() -> None:
    assert set(FILES) >= OF_NO_MODULE


@pytest.mark.parametrize("test", [test for test in FILES if test not in OF_NO_MODULE])
def test_a_unit_test_is_named_after_its_module(test: str) -> None:
    path = Path(test)
    assert (SOURCE / path.parent / path.name.removeprefix("test_")).is_file()
