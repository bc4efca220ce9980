"""Work on all examples that resumes after an interruption and that several processes share: what evaluation and audit run on."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from logitpair.data import Data, batches, count, select
from logitpair.runtime import distributed
from logitpair.runtime.distributed import ALONE, World
from logitpair.runtime.progress import Progress
from logitpair.storage.ledger import Columns, LedgerChunk, PartialLedger

Work = Callable[[Tensor, Tensor, Tensor], LedgerChunk]
"""``work(x, y, position)``: what is done to a batch."""


def resumable_map(
    work: Work,
    data: Data,
    progress: Progress,
    *,
    positions: np.ndarray | None = None,
    partial: PartialLedger | None = None,
    batch_size: int,
    device: torch.device,
    workers: int = 0,
    world: World = ALONE,
) -> list[Columns]:
    """The chunks that ``work`` makes of the examples; those that an interrupted run has kept are taken as they are.

    Args:
        work: done to each batch.
        data: the examples.
        progress: advanced after each batch.
        positions: of the examples to work on; None for all, which a ``DataLoader`` or a stream, having no order, needs.
        partial: where chunks are kept; None keeps them in memory, which several processes cannot share.
        batch_size: examples worked on together.
        device: where batches go.
        workers: processes that load images.
        world: the processes that share the work; every one returns the chunks of all.
    """
    examples = count(data)
    ordered = examples is not None and not isinstance(data, DataLoader)
    done = partial.done() if partial else np.zeros(0, dtype=np.int64)
    distributed.barrier(world)  # or the chunks of the fastest would be taken for done before
    position, chosen = None, data
    if ordered:
        left = torch.from_numpy(np.setdiff1d(np.arange(examples or 0) if positions is None else positions, done))
        own = [batch for number, batch in enumerate(left.split(batch_size)) if number % world.size == world.rank]
        position = torch.cat([left[:0], *own])
        chosen = select(data, position.tolist())
    made: list[Columns] = []
    start = 0
    for x, y in batches(chosen, batch_size, device, workers) if position is None or len(position) else ():
        rows = torch.arange(start, start + len(x))
        start += len(x)
        began = time.perf_counter()
        chunk = work(x, y, rows if position is None else position[rows])
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        chunk.facts["seconds"] = time.perf_counter() - began
        if partial:
            partial.save(chunk)
        else:
            made.append(chunk.arrays())
        progress.advance(len(x) * world.size)
    distributed.barrier(world)
    chunks = partial.read() if partial else made
    distributed.barrier(world)  # before the main process, having saved the whole, deletes the chunks
    return chunks
