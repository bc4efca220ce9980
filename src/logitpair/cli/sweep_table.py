"""The results of ``logitpair sweep`` and ``logitpair reproduce`` in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from logitpair.evaluation.confidence import mean_and_range
from logitpair.runtime.progress import console
from logitpair.storage.results import SweepResults
from logitpair.sweeps.record import MEASURES


class RunsFailed(ArithmeticError):
    """Some runs have no result, most likely because they diverged; the others are finished."""


def print_sweep(results: SweepResults, folder: Path) -> None:
    """Print the grid's points, and the one to choose.

    Raises:
        RunsFailed: if a run failed, naming the first.
    """
    if results.axes:
        console.print(_table(results))
    if results.best and results.axes:
        chosen = ", ".join(f"{setting} = {_short(value)}" for setting, value in results.best.settings.items())
        console.print(f"Best on held-out images: {chosen} ({results.best.validation_white_box:.1%} white box)")
    failed = [run for run in results.runs if run.status == "failed"]
    if failed:
        raise RunsFailed(f"{len(failed)} of {len(results.runs)} runs failed, such as {folder / failed[0].path}: {failed[0].message}")


def _table(results: SweepResults) -> Table:
    columns = ("", "runs", "held-out clean %", "held-out white box %", "clean %", "white box %")
    table = Table(*columns, title="mean over seeds (lowest - highest)")
    for point in results.points:
        spreads = [mean_and_range(getattr(point, measure)) for measure in MEASURES]
        table.add_row(_values(point.settings), f"{point.finished} / {point.runs}", *spreads)
    return table


def _values(settings: Mapping[str, Any]) -> str:
    return ", ".join(map(_short, settings.values()))


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
