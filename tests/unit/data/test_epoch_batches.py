"""The order of training: a function of the seed, in any number of processes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from logitpair import data
from logitpair.data.epoch_batches import epoch_batches

CPU = torch.device("cpu")


@pytest.mark.parametrize("examples", [10, 12])
def test_every_index_comes_exactly_once_an_epoch(examples: int) -> None:
    images = data.MemoryImages(torch.arange(examples, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(examples))
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        found = list(epoch_batches(images, 4, seed=seed, epoch=epoch))
        assert len(found) == 3
        assert all(torch.equal(x.flatten().long(), y) for x, y in found)
        orders.append(torch.cat([y for _, y in found]).tolist())
        assert sorted(orders[-1]) == list(range(examples))
    assert len(set(map(tuple, orders))) == 3, "each epoch and each seed has its own order"


def test_an_epoch_started_in_the_middle_has_the_same_tail() -> None:
    images = data.Digits().validation()
    whole = list(epoch_batches(images, 16, seed=3, epoch=2))
    tail = list(epoch_batches(images, 16, seed=3, epoch=2, start=6))
    assert len(tail) == len(whole) - 6
    for (x, y), (x_tail, y_tail) in zip(whole[6:], tail, strict=True):
        assert torch.equal(x, x_tail)
        assert torch.equal(y, y_tail)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_share_each_batch(size: int) -> None:
    images = data.MemoryImages(torch.zeros(50, 1, 1, 1, dtype=torch.uint8), torch.arange(50))
    whole = [y for _, y in epoch_batches(images, 12, seed=0, epoch=0)]
    shares = [[y for _, y in epoch_batches(images, 12, seed=0, epoch=0, rank=rank, size=size)] for rank in range(size)]
    for batch, *shards in zip(whole, *shares, strict=True):
        together = torch.cat(shards)
        assert sorted(together.tolist()) == sorted(batch.tolist())
        assert len(together.unique()) == len(together)


class Augmented(Dataset):
    """Draws a number with every example, as an augmentation does."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(1, 2, 2) + index, index


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_draws_the_same_after_resuming_and_in_workers_and_anew_each_epoch(workers: int) -> None:
    def epoch(number: int, start: int = 0, workers: int = 0) -> Tensor:
        return torch.cat([x for x, _ in epoch_batches(Augmented(), 6, seed=0, epoch=number, start=start, workers=workers)])

    torch.rand(3)  # the global state is nobody's business
    whole = epoch(0)
    torch.rand(7)
    assert torch.equal(epoch(0, start=2, workers=workers), whole[12:])
    assert torch.equal(epoch(0, workers=workers), whole)
    other = {round(value, 5) for value in (epoch(1) % 1).flatten().tolist()}
    assert not other & {round(value, 5) for value in (whole % 1).flatten().tolist()}
