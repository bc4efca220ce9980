"""The same work on many images, on all cores, with a progress bar."""

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


def map_in_threads(work: Callable[[Item], Result], items: Sequence[Item], description: str) -> Iterator[Result]:
    """The results in the order of the items. Pillow decodes outside Python's lock, so that threads are enough."""
    with ThreadPool(min(os.cpu_count() or 1, 32)) as pool:
        yield from with_progress(pool.imap(work, items, chunksize=64), description, len(items))


def with_progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """The items, with a progress bar where there is a terminal."""
    return track(items, description, total, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
