"""Work on all examples that resumes after an interruption and that several processes share: what evaluation and audit run on."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from logitpair.data import Data, batches, count, select
from logitpair.errors import InputError
from logitpair.runtime import distributed
from logitpair.runtime.distributed import World
from logitpair.runtime.progress import Progress
from logitpair.storage.ledger import FACTS, PARTS, POSITION, Columns, PartialLedger, column

Chunk = Mapping[str, Tensor | float]  # columns and facts by name, of one batch
Work = Callable[[Tensor, Tensor, Tensor], Chunk]  # ``work(x, y, position)``: what is done to a batch


@dataclass(frozen=True)
class Execution:
    """How the work is done."""

    device: torch.device
    batch_size: int
    workers: int  # processes that load images
    world: World  # processes that share the work
    progress: bool  # whether a bar is shown


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

    A bar shows the work's ``name`` and a ``note`` in the main process.
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
        data = select(data, own.tolist())
    made: list[Columns] = []
    start = 0
    with Progress(name, examples, before, note, how.progress and world.is_main) as progress:
        for x, y in batches(data, how.batch_size, how.device, how.workers) if own is None or len(own) else ():
            rows = torch.arange(start, start + len(x))
            start += len(x)
            position = rows if own is None else own[rows]
            began = time.perf_counter()
            found = {POSITION: position, **work(x, y, position)}
            chunk = {key: values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values) for key, values in found.items()}
            chunk[f"{FACTS}seconds"] = np.asarray(time.perf_counter() - began)
            if partial:
                partial.save(chunk)
            else:
                made.append(chunk)
            progress.advance(len(x) * world.size)
    distributed.barrier(world)
    chunks = partial.read() if partial else made
    distributed.barrier(world)  # before the main process, having saved the whole, deletes the chunks
    if positions is not None:
        _check_complete(chunks, positions, name)
    return chunks


def _check_complete(chunks: list[Columns], positions: np.ndarray, name: str) -> None:
    found = column(chunks, POSITION) if chunks else positions[:0]
    if not np.array_equal(np.sort(found), positions):
        missing = len(np.setdiff1d(positions, found))
        trouble = f"some are there twice; delete {PARTS}/"
        if missing:
            trouble = f"{missing} are missing, perhaps since another process works on the same; {name} again"
        raise InputError(f"the chunks of the ledger do not make up {len(positions)} examples: {trouble}")
