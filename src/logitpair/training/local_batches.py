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
from logitpair.data.epoch_batches import epoch_batches, steps_per_epoch
from logitpair.errors import InputError
from logitpair.runtime import distributed
from logitpair.runtime.distributed import World


@dataclass(frozen=True)
class LocalBatch:
    """What one process has of a step's batch.

    Args:
        x: images in [0, 1], ``[n, channels, height, width]``.
        y: labels, ``[n]``.
        positions: ``[n]``, where they stand in the whole batch.
        of: examples in the whole batch, over all processes.
    """

    x: Tensor
    y: Tensor
    positions: Tensor
    of: int

    def __len__(self) -> int:
        return len(self.y)

    def micro_batches(self, count: int) -> list[LocalBatch]:
        """The share dealt out as the whole batch is to processes, so that ``count`` micro-batches are as ``count`` times the processes.

        Of nothing, which is what a spare process has, there are none.
        """
        parts = [LocalBatch(self.x[n::count], self.y[n::count], self.positions[n::count], self.of) for n in range(count)]
        return [part for part in parts if len(part)]


class LocalBatches:
    """The batches of a training, of which a process may ask for its share at any step and any place.

    They are read in order, and from anew where a step does not follow the last one or the place has changed.

    Args:
        config: the settings.
        dataset: the training images.
    """

    def __init__(self, config: RunConfig, dataset: Dataset[Any]) -> None:
        self.config, self.dataset = config, dataset
        self.examples: int = len(dataset)  # type: ignore[arg-type]
        self.per_epoch = steps_per_epoch(dataset, config.batch_size)
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._given: tuple[int, World, LocalBatch] | None = None

    def check(self, size: int) -> None:
        """Refuse batches that leave one of ``size`` processes, or a micro-batch, without an image.

        Raises:
            InputError: naming the batch size or the number of micro-batches.
        """
        batch_size, accumulate = self.config.batch_size, self.config.accumulate
        last = self.examples % batch_size or batch_size
        if last < size:
            raise InputError(f"batch_size: {batch_size} makes a batch of {last} images, too few for {size} processes")
        if accumulate > batch_size // size:
            raise InputError(
                f"accumulate: {accumulate} micro-batches of a batch_size of {batch_size} on {size} processes;"
                f" accepted: at most {batch_size // size}, an image each"
            )

    def share(self, step: int, place: World) -> LocalBatch:
        """What the process at ``place`` has of the batch of ``step``; an empty share for a spare one."""
        epoch, start = divmod(step, self.per_epoch)
        of = min(self.config.batch_size, self.examples - start * self.config.batch_size)
        if place.is_spare:
            return LocalBatch(torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), of)
        before, at, share = self._given or (-1, place, None)
        if share is not None and (before, at) == (step, place):
            return share  # the step is taken again
        if start == 0 or (before + 1, at) != (step, place):
            self._batches = epoch_batches(
                self.dataset,
                self.config.batch_size,
                seed=self.config.seed,
                epoch=epoch,
                start=start,
                rank=place.rank,
                size=place.size,
                workers=self.config.workers,
            )
        images, y = next(self._batches)
        share = LocalBatch(to_pixels(images, place.device), y.to(place.device), distributed.positions(of, place), of)
        self._given = step, place, share
        return share
