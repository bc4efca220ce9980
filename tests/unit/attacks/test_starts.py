"""Where searches begin."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import logitpair as lp
from logitpair.attacks import BlockStart, SignStart
from logitpair.rng import ExampleStreams


def test_block_starts_are_corners_constant_over_blocks_of_each_examples_own_size() -> None:
    x = torch.full((60, 1, 28, 28), 0.5)
    start = BlockStart().draw(lp.Linf(0.25), x, ExampleStreams(0, torch.arange(60)))
    assert set(start.unique().tolist()) == {0.25, 0.75}
    sizes = set()
    for image in start[:, 0]:
        size = max(
            size
            for size in (1, 2, 4, 7, 14)
            if torch.equal(image, image[::size, ::size].repeat_interleave(size, 0).repeat_interleave(size, 1))
        )
        sizes.add(size)
    assert sizes == {1, 2, 4, 7, 14}


def test_the_smallest_blocks_are_a_28th_of_the_height() -> None:
    x = torch.full((60, 1, 42, 42), 0.5)  # 1.5 pixels, rounded to 2: no block of a single pixel is left
    start = BlockStart().draw(lp.Linf(0.25), x, ExampleStreams(0, torch.arange(60)))
    for image in start[:, 0]:
        assert any(torch.equal(image, image[::n, ::n].repeat_interleave(n, 0).repeat_interleave(n, 1)) for n in (2, 3, 21))


@pytest.mark.parametrize(("start", "length"), [(SignStart(), 0.1), (BlockStart(), 0.2)])
def test_starts_in_l2_have_their_length(start: SignStart | BlockStart, length: float) -> None:
    x = torch.full((20, 2, 8, 8), 0.5)
    change = start.draw(lp.L2(0.2), x, ExampleStreams(0, torch.arange(20))) - x
    torch.testing.assert_close(change.flatten(1).norm(dim=1), torch.full((20,), length))
    torch.testing.assert_close(change.abs(), torch.full_like(x, length / 128**0.5))


@pytest.mark.parametrize(("start", "move"), [(SignStart(), 0.1), (BlockStart(), 0.2)])
def test_each_half_of_the_draws_leads_to_one_corner(start: SignStart | BlockStart, move: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uniform numbers are at least 0 and below 1: one half of them is below 0.5, and 0.5 begins the other."""
    draws = torch.tensor([0.0, 0.5 - 2**-25, 0.5, 1 - 2**-24]).view(1, 1, 1, 4)

    def drawn(x: Tensor, generator: None) -> Tensor:
        return draws if x.ndim == 4 else torch.zeros(1)  # the smallest blocks

    monkeypatch.setattr("logitpair.attacks.starts.uniform_like", drawn)
    found = (start.draw(lp.Linf(0.2), torch.full((1, 1, 1, 4), 0.5), None) - 0.5).flatten()
    lower, upper = found[:2], found[2:]
    assert lower.unique().numel() == upper.unique().numel() == 1
    torch.testing.assert_close(lower.abs(), torch.full((2,), move))
    torch.testing.assert_close(lower, -upper)
