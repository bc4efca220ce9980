"""Accuracies and tables as text: the same in the terminal, in notebooks and on pages. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def percent(fraction: float, digits: int = 2) -> str:
    """0.9375 as ``93.75``, without rounding what is below 100 up to it."""
    value = 100 * fraction
    return f"{min(value, 100 - 10**-digits) if value < 100 else 100:.{digits}f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))
