"""What a check came to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One check: what was measured, whether it passed, and what to do where it did not.

    Args:
        check: its name, explained in docs/reference/audit.md.
        passed: whether there is nothing to worry about.
        evidence: what was measured and the threshold, in words.
        advice: what to do where it did not pass.
        measured: the numbers.
        threshold: what they were held against.
        blocks: whether no verdict but ``inconclusive`` is possible while it fails, unless the number is plainly too high.
    """

    check: str
    passed: bool
    evidence: str
    advice: str
    measured: dict[str, float]
    threshold: float
    blocks: bool = False

    def entry(self) -> dict[str, Any]:
        """As ``results.json`` has it."""
        return dataclasses.asdict(self)
