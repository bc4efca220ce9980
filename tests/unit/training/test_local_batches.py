"""Local batches add up to the whole batch, as any rank of any number of processes and wherever reading begins."""

from __future__ import annotations

import pytest
import torch

from logitpair.config import parsing, recipes
from logitpair.training.local_batches import LocalBatches, micro_count


def local_batches(*settings: str) -> LocalBatches:
    config = parsing.resolve(recipes.load("digits-plain").run, settings).config
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


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "size", "smallest"),
    [(64, 1, 1, 48), (109, 1, 1, 1), (109, 1, 2, 0), (599, 1, 2, 1), (597, 2, 2, 3), (4, 2, 2, 1), (100, 4, 1, 25), (1, 1, 1, 1)],
)
def test_the_smallest_micro_batch_is_known_before_training(batch_size: int, accumulate: int, size: int, smallest: int) -> None:
    batches = local_batches("--batch_size", str(batch_size), "--accumulate", str(accumulate))
    assert batches.examples == 1200
    assert batches.smallest(size) == smallest
    if smallest:
        dealt = [batches.at(step, rank, size) for step in (0, batches.per_epoch - 1) for rank in range(size)]
        counted = [batch.micro_batches(micro_count(batches.config, batch.global_size, size)) for batch in dealt]
        assert min(len(micro) for batch in counted for micro in batch) == smallest
