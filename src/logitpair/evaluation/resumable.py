"""Work on all examples that resumes after an interruption and that several processes share: what evaluation and audit run on."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from logitpair.data import Data, batches, count, select
from logitpair.errors import InputError, is_out_of_memory
from logitpair.runtime import distributed
from logitpair.runtime.distributed import World
from logitpair.runtime.progress import Progress
from logitpair.storage.ledger import FACTS, PARTS, POSITION, Columns, PartialLedger, column
from logitpair.validate import whole

Chunk = Mapping[str, Tensor | float]  # columns and facts by name, of one batch
Work = Callable[[Tensor, Tensor, Tensor], Chunk]  # ``work(x, y, position)``: what is done to a batch

logger = logging.getLogger("logitpair")


@dataclass
class Execution:
    """How the work is done."""

    device: torch.device
    batch_size: int  # images that a process takes at a time
    workers: int  # processes that load images
    world: World  # processes that share the work
    progress: bool  # whether a bar is shown
    fits: int = sys.maxsize  # images for which the memory of this process is not known to be too small

    def __post_init__(self) -> None:
        whole("batch_size", self.batch_size, 1)
        whole("workers", self.workers, 0)
        self.batch_size, self.workers = int(self.batch_size), int(self.workers)  # as they are written down, also of numpy's

    @property
    def together(self) -> int:
        """Images that are worked on together."""
        return min(self.batch_size, self.fits)


def check_shared(folder: Path | str | None, world: World) -> None:
    """Refuse several processes without a folder, by way of which they share the work."""
    if folder is None and world.size > 1:
        raise InputError("folder is not given; several processes need one that all of them see")


def resumable_map(
    work: Work,
    data: Data,
    name: str,
    how: Execution,
    *,
    note: str,
    positions: np.ndarray | None = None,  # ascending; None for all, which a DataLoader or a stream, having no order, needs
    partial: PartialLedger | None = None,  # None keeps chunks in memory, which several processes cannot share
) -> list[Columns]:
    """The chunks that ``work`` makes of the examples, of all processes; those that an interrupted run has kept are taken as they are.

    Where a batch takes more memory than there is, nothing of it is kept, and the work goes on with half as many images at a time. A bar
    shows the work's ``name`` and a ``note`` in the main process.
    """
    examples, world = count(data), how.world
    if positions is None and examples is not None and not isinstance(data, DataLoader):
        positions = np.arange(examples)
    done = partial.done() if partial else np.zeros(0, dtype=np.int64)
    distributed.barrier(world)  # or the chunks of the fastest would be taken for done before
    own, before = None, 0
    if positions is not None:
        left = torch.from_numpy(np.setdiff1d(positions, done))
        examples, before = len(positions), len(positions) - len(left)
        of_rank = [batch for number, batch in enumerate(left.split(how.batch_size)) if number % world.size == world.rank]
        own = torch.cat([left[:0], *of_rank])
    made: list[Columns] = []
    with Progress(name, examples, before, note, how.progress and world.is_main) as progress:
        for chunk in _chunks(work, data, own, how):
            if partial:
                partial.save(chunk)
            else:
                made.append(chunk)
            progress.advance(len(chunk[POSITION]) * world.size)
    distributed.barrier(world)
    chunks = partial.read() if partial else made
    distributed.barrier(world)  # before the main process, having saved the whole, deletes the chunks
    if positions is not None:
        _check_complete(chunks, positions, name)
    return chunks


def _chunks(work: Work, data: Data, own: Tensor | None, how: Execution) -> Iterator[Columns]:
    """What is made of each batch of the examples at the positions ``own``; None for all of what has no order, and cannot begin again."""
    start = 0
    while own is None or start < len(own):
        left = data if own is None else select(data, own[start:].tolist())
        try:
            for x, y in batches(left, how.together, how.device, how.workers):
                rows = torch.arange(start, start + len(x))
                position = rows if own is None else own[rows]
                began = time.perf_counter()
                found = {POSITION: position, **work(x, y, position)}
                chunk = {key: values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values) for key, values in found.items()}
                yield chunk | {f"{FACTS}seconds": np.asarray(time.perf_counter() - began)}
                start += len(x)
            return
        except (MemoryError, RuntimeError) as error:
            tried = 1 if own is None else min(how.together, len(own) - start)
            if tried == 1 or not is_out_of_memory(error):
                raise
        how.fits = tried // 2  # beyond the handler, which holds what the batch had taken
        logger.info(f"the memory is too small for {tried:,} images at a time; going on with {how.fits:,}")


def _check_complete(chunks: list[Columns], positions: np.ndarray, name: str) -> None:
    found = column(chunks, POSITION) if chunks else positions[:0]
    if not np.array_equal(np.sort(found), positions):
        missing = len(np.setdiff1d(positions, found))
        trouble = f"some are there twice; delete {PARTS}/"
        if missing:
            trouble = f"{missing} are missing, perhaps since another process works on the same; {name} again"
        raise InputError(f"the chunks of the ledger do not make up {len(positions)} examples: {trouble}")
