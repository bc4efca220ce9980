"""Accuracies and tables as text: the same in the terminal, in notebooks and on pages. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from logitpair.storage.results import Spread


def percent(fraction: float, digits: int = 2) -> str:
    """0.9375 as ``93.75``, without rounding what is below 100 up to it."""
    value = 100 * fraction
    return f"{min(value, 100 - 10**-digits) if value < 100 else 100:.{digits}f}"


def mean_and_range(spread: Spread | None) -> str:
    """``86.1 (84.0 - 88.5)`` in percent: the mean, then lowest and highest where they differ."""
    if not spread:
        return "-"
    mean, low, high = (f"{100 * value:.1f}" for value in (spread.mean, spread.min, spread.max))
    return f"{mean} ({low} - {high})" if low != high else mean


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))
