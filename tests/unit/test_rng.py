"""Streams of random numbers that belong to examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from logitpair.rng import ExampleStreams, derive_seed, normal_like, uniform_like


def draw(seed: int, indices: list[int], numbers: int = 50, dtype: torch.dtype = torch.float64) -> Tensor:
    return ExampleStreams(seed, torch.tensor(indices)).uniform(torch.Size([len(indices), numbers]), dtype, torch.device("cpu"))


def test_numbers_belong_to_the_example_not_to_its_batch() -> None:
    together = draw(3, [5, 6, 7, 1000])
    assert torch.equal(draw(3, [7])[0], together[2])
    assert torch.equal(draw(3, [1000, 5]), together[[3, 0]])


def test_numbers_do_not_depend_on_how_many_are_drawn() -> None:
    assert torch.equal(draw(3, [5], 10), draw(3, [5], 50)[:, :10])


def test_later_draws_are_the_same_in_any_batch() -> None:
    many, one = ExampleStreams(0, torch.arange(8)), ExampleStreams(0, torch.tensor([6]))
    for _ in range(3):
        a = uniform_like(torch.zeros(8, 1, 4, 4), many)
        b = uniform_like(torch.zeros(1, 1, 4, 4), one)
        assert torch.equal(a[6], b[0])


def test_seeds_examples_and_successive_draws_differ() -> None:
    stream = ExampleStreams(0, torch.arange(4))
    shape, cpu = torch.Size([4, 100]), torch.device("cpu")
    draws = [stream.uniform(shape, torch.float64, cpu), stream.uniform(shape, torch.float64, cpu), draw(1, [0, 1, 2, 3], 100)]
    numbers = torch.cat(draws).flatten()
    assert len(numbers.unique()) == len(numbers)


def test_numbers_are_uniform_and_uncorrelated() -> None:
    numbers = draw(11, list(range(500)), 200).numpy()
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    across_examples = np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]
    along_a_stream = np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]
    assert abs(across_examples) < 0.015
    assert abs(along_a_stream) < 0.015


def test_first_numbers_of_many_examples_are_uniform() -> None:
    assert stats.kstest(draw(derive_seed("any"), list(range(20_000)), 1).numpy().ravel(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_are_below_one_in_every_dtype(dtype: torch.dtype) -> None:
    numbers = draw(0, list(range(2000)), 100, dtype)
    assert numbers.dtype == dtype
    assert 0 <= numbers.min() < numbers.max() < 1


def test_large_and_negative_seeds_and_indices_work() -> None:
    rows = [draw(seed, [index], 5) for seed in (2**63 - 1, 2**64 + 5, -1, 0) for index in (0, 2**62)]
    assert len(torch.cat(rows).unique(dim=0)) == len(rows)


def test_uniform_like_takes_a_generator_and_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    a = uniform_like(torch.zeros(3, 4), torch.Generator().manual_seed(5))
    b = uniform_like(torch.zeros(3, 4), torch.Generator().manual_seed(5))
    c = uniform_like(torch.zeros(3, 4), torch.Generator().manual_seed(6))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_uniform_like_without_a_generator_uses_the_global_one() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        a = uniform_like(torch.zeros(3, 4), None)
    assert torch.equal(a, torch.rand(3, 4, generator=torch.Generator().manual_seed(5)))


def test_normal_like_is_standard_normal_whatever_it_draws_from() -> None:
    like = torch.zeros(200, 1, 10, 10)
    for generator in (torch.Generator().manual_seed(3), ExampleStreams(3, torch.arange(200)), None):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            numbers = normal_like(like, generator)
        assert (numbers.shape, numbers.dtype) == (like.shape, like.dtype)
        assert stats.kstest(numbers.double().numpy().ravel(), "norm").pvalue > 1e-3


def test_normal_numbers_belong_to_the_example_not_to_its_batch() -> None:
    together = normal_like(torch.zeros(4, 1, 5, 5), ExampleStreams(3, torch.tensor([5, 6, 7, 1000])))
    assert torch.equal(normal_like(torch.zeros(1, 1, 5, 5), ExampleStreams(3, torch.tensor([7])))[0], together[2])


def test_derive_seed_is_stable_across_versions() -> None:
    assert derive_seed(0, "step", 7, 0) == 1359409112637853682  # a resumed run must draw what it drew before an upgrade
    assert derive_seed("pgd") == 5835559443381052490


def test_derive_seed_fits_a_generator_and_tells_its_parts_apart() -> None:
    seeds = {derive_seed(*parts) for parts in [(0, "a"), (0, "b"), (1, "a"), ("0a",), (0, "a", 0), ()]}
    assert len(seeds) == 6
    for seed in seeds:
        assert 0 <= seed < 2**63
        torch.Generator().manual_seed(seed)


def splitmix64(z: int) -> int:
    """Steele, Lea and Flood 2014, figure 16, on Python's integers."""
    z = (z + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


@pytest.mark.parametrize("seed", [0, 3, -1, 2**63 + 7, 2**64 + 5])
def test_streams_are_those_of_all_versions(seed: int) -> None:
    streams = ExampleStreams(seed, torch.tensor([0, 1, 59_999]))
    for draw in range(2):
        key = seed + draw * 0x632BE59BD9B4E019 % 2**62
        expected = [
            [(splitmix64(splitmix64(example + pixel * 0x1851F42D4C957F2D)) >> 11) / 2**53 for pixel in range(3)]
            for example in (splitmix64(i * -0x61C8864680B583EB + key) for i in (0, 1, 59_999))
        ]
        assert streams.uniform(torch.Size([3, 3]), torch.float64, torch.device("cpu")).tolist() == expected
