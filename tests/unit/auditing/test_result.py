"""The table of an audit: a line for each round that broke something, and one for those in a row that broke nothing."""

from __future__ import annotations

import pytest
from handmade_audits import audit, search_round

from logitpair.auditing.result import Audit


@pytest.mark.parametrize(
    ("broken", "lines"),
    [
        ([5, 1], ["1: smooth", "2: smooth"]),
        ([5, 0], ["1: smooth", "2: smooth"]),
        ([0, 0, 5, 0, 0, 0, 2, 0], ["1 to 2, which broke none", "3: smooth", "4 to 6, which broke none", "7: smooth", "8: smooth"]),
        ([0, 0], ["1 to 2, which broke none"]),
        ([], []),
    ],
)
def test_rounds_that_broke_none_share_a_line(broken: list[int], lines: list[str]) -> None:
    counts = [100 - sum(broken[:number]) for number in range(len(broken) + 1)]
    rounds = tuple(search_round("smooth", counts[number - 1], counts[number], number) for number in range(1, len(counts)))
    rows = Audit(audit(rounds=rounds), {}).rows()[2:-1]
    assert [row[0].removeprefix("after ") for row in rows] == lines
    assert not rows or rows[-1][3:] == (f"{counts[-1]} / 200", f"{len(broken)}.0"), "as after the last of them"
