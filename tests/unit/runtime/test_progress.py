"""What is said of how far a work has come."""

from __future__ import annotations

from logitpair.runtime.progress import Progress


def test_no_more_is_done_than_there_is() -> None:
    """A process that reckons for others too may reckon too much."""
    bar = Progress("audit", 10, shown=False)
    bar.advance(8)
    bar.advance(8)
    assert str(bar) == "audit: 10 of 10 images done"
    unknown = Progress("audit", None, shown=False)
    unknown.advance(8)
    assert str(unknown) == "audit: 8 of ? images done"
