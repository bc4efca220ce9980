"""The same work on many images, on all cores, with a progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import TypeVar

from logitpair.runtime.progress import tracked

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(work: Callable[[Item], Result], items: Sequence[Item], description: str) -> Iterator[Result]:
    """The results in the order of the items. Pillow decodes outside Python's lock, so that threads are enough."""
    with ThreadPool(min(os.cpu_count() or 1, 32)) as pool:
        yield from tracked(pool.imap(work, items, chunksize=64), description, len(items))
