"""The same work on many pictures, on all cores, with a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], told: str) -> Iterator[Result]:
    """The results in the order of the items. Pillow decodes outside Python's lock, so that threads do.

    Args:
        work: done on each.
        items: what it is done on.
        told: what it is called beside a progress bar, which there is in a terminal.
    """
    with ThreadPool(min(os.cpu_count() or 1, 32)) as pool:
        yield from tracked(pool.imap(work, items, chunksize=64), told, len(items))


def tracked(items: Iterable[Item], told: str, total: int | None = None) -> Iterable[Item]:
    """The items, with a progress bar where there is a terminal."""
    return track(items, told, total, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
