"""Local batches add up to the whole batch, as any rank of any number of processes and wherever reading begins."""

from __future__ import annotations

import pytest
import torch

from logitpair.config import parsing, recipes
from logitpair.training.local_batches import LocalBatches


def local_batches() -> LocalBatches:
    config = parsing.resolve(recipes.load("digits-plain").run).config
    return LocalBatches(config, config.data.train(), torch.device("cpu"))


@pytest.mark.parametrize("step", [0, 7, 18, 19, 40])
def test_local_batches_of_all_ranks_are_the_batch_wherever_reading_begins(step: int) -> None:
    whole = local_batches().at(step, 0, 1)
    assert local_batches().global_size(step) == len(whole)
    for size in (2, 3):
        for rank in range(size):
            batch = local_batches().at(step, rank, size)
            assert batch.global_size == whole.global_size == len(whole)
            assert torch.equal(batch.x, whole.x[rank::size])
            assert torch.equal(batch.y, whole.y[rank::size])
            assert torch.equal(batch.positions, whole.positions[rank::size])


def test_reading_goes_forward_again_and_to_other_ranks() -> None:
    moving = local_batches()
    for step, rank in [(0, 0), (1, 0), (1, 0), (2, 1), (3, 1), (3, 2), (4, 1), (9, 1), (10, 0), (18, 0), (19, 0), (5, 0)]:
        found, expected = moving.at(step, rank, 2), local_batches().at(step, rank, 2)
        assert torch.equal(found.x, expected.x), (step, rank)
        assert torch.equal(found.positions, expected.positions), (step, rank)


def test_a_standby_has_nothing() -> None:
    batch = local_batches().at(3, 2, 2)
    assert len(batch) == 0
    assert batch.global_size == 64
    assert batch.micro_batches(4) == []
