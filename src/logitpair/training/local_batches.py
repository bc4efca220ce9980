"""What a process has of each step's batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from logitpair.config.run_config import RunConfig
from logitpair.data import to_pixels
from logitpair.data.epoch_batches import epoch_batches
from logitpair.errors import InputError


def micro_count(config: RunConfig, images: int, size: int) -> int:
    """Micro-batches of a process among ``size`` that share a batch of so many images; a smaller last batch has fewer of them."""
    each = config.batch_size // size // config.accumulate
    return max(1, min(config.accumulate, images // size // each))


@dataclass(frozen=True)
class LocalBatch:
    """What one process has of a step's batch."""

    x: Tensor  # images in [0, 1], ``[n, channels, height, width]``
    y: Tensor  # labels, ``[n]``
    positions: Tensor  # ``[n]``, in the whole batch
    global_size: int  # examples in the whole batch, over all processes

    def __len__(self) -> int:
        return len(self.y)

    def micro_batches(self, count: int) -> list[LocalBatch]:
        """The batch dealt out as the whole one is to processes, so that ``count`` micro-batches are as ``count`` times the processes.

        An empty batch, which is what a standby has, makes none.
        """
        dealt = [LocalBatch(self.x[n::count], self.y[n::count], self.positions[n::count], self.global_size) for n in range(count)]
        return [batch for batch in dealt if len(batch)]


class LocalBatches:
    """The batches of a training, of which a process may have its images at any step, as any rank of any number of processes.

    They are read in order, and from anew where a step does not follow the last one or the rank has changed.
    """

    def __init__(self, config: RunConfig, dataset: Dataset[Any], device: torch.device) -> None:
        self.config, self.dataset, self.device = config, dataset, device
        self.examples: int = len(dataset)  # type: ignore[arg-type]
        self.per_epoch = -(-self.examples // config.batch_size)  # the last one may be smaller
        self._read: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._last: tuple[tuple[int, int, int], LocalBatch] | None = None

    def check(self, size: int) -> None:
        """Refuse batches that leave one of ``size`` processes, or a micro-batch, without an image."""
        batch_size, accumulate = self.config.batch_size, self.config.accumulate
        if (last := self.global_size(-1)) < size:
            raise InputError(f"batch_size: {batch_size} makes a batch of {last} images, too few for {size} processes")
        if accumulate > batch_size // size:
            raise InputError(
                f"accumulate: {accumulate} micro-batches of a batch_size of {batch_size} on {size} processes;"
                f" accepted: at most {batch_size // size}, an image each"
            )

    def smallest(self, size: int) -> int:
        """Images in the smallest micro-batch of any of ``size`` processes."""
        return min(images // size // micro_count(self.config, images, size) for images in (self.config.batch_size, self.global_size(-1)))

    def global_size(self, step: int) -> int:
        """Images in the whole batch of ``step``; of -1, in the last batch of an epoch."""
        return min(self.config.batch_size, self.examples - step % self.per_epoch * self.config.batch_size)

    def at(self, step: int, rank: int, size: int) -> LocalBatch:
        """What process ``rank`` of ``size`` has of the batch of ``step``: every ``size``-th image; nothing for a standby."""
        if rank >= size:
            nothing = torch.empty(0, dtype=torch.int64)
            return LocalBatch(nothing.float(), nothing, nothing, self.global_size(step))
        wanted, last = (step, rank, size), self._last
        if last and last[0] == wanted:
            return last[1]  # the step is taken again
        epoch, start = divmod(step, self.per_epoch)
        if start == 0 or not last or last[0] != (step - 1, rank, size):
            c = self.config
            self._read = epoch_batches(
                self.dataset, c.batch_size, seed=c.seed, epoch=epoch, start=start, rank=rank, size=size, workers=c.workers
            )
        images, y = next(self._read)
        positions = torch.arange(rank, self.global_size(step), size)
        batch = LocalBatch(to_pixels(images, self.device), y.to(self.device), positions, self.global_size(step))
        self._last = wanted, batch
        return batch
