"""Optional libraries and data that tests need: where everything must be there, what is missing is a failure and not a skip."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest

REQUIRE_ALL = os.environ.get("LOGITPAIR_REQUIRE_ALL") == "1" or os.environ.get("CI", "").lower() == "true"


def optional(name: str) -> ModuleType:
    """The library, or a skip; with ``CI=true`` or ``LOGITPAIR_REQUIRE_ALL=1`` a failure, so that skips hide nothing there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if REQUIRE_ALL:
            raise
        pytest.skip(f"{name} is not installed: {error}", allow_module_level=True)
