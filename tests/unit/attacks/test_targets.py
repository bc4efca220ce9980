"""Which class a targeted attack aims at."""

from __future__ import annotations

import torch
from hypothesis import given, strategies as st
from scipy import stats

from logitpair.attacks import LeastLikely, RandomTarget
from logitpair.rng import ExampleStreams

batches = st.tuples(st.integers(2, 12), st.integers(1, 20), st.integers(0, 2**32))


@given(batches)
def test_least_likely_is_the_argmin_without_the_true_class(batch: tuple[int, int, int]) -> None:
    classes, examples, seed = batch
    seeded = torch.Generator().manual_seed(seed)
    logits = torch.randn(examples, classes, generator=seeded)
    y = torch.randint(classes, (examples,), generator=seeded)
    target = LeastLikely().choose(logits, y, None)
    assert (target != y).all()
    argmin = logits.argmin(1)
    assert torch.equal(target[argmin != y], argmin[argmin != y])
    for i in torch.nonzero(argmin == y).flatten().tolist():
        assert target[i] == logits[i].argsort()[1]


def test_least_likely_of_two_classes_is_the_other() -> None:
    logits = torch.tensor([[5.0, -5.0], [-5.0, 5.0], [0.0, 0.0], [1e30, 1e30]])
    y = torch.tensor([1, 0, 0, 1])
    assert LeastLikely().choose(logits, y, None).tolist() == [0, 1, 1, 0]


@given(batches)
def test_random_target_is_another_class(batch: tuple[int, int, int]) -> None:
    classes, examples, seed = batch
    seeded = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (examples,), generator=seeded)
    for source in (seeded, ExampleStreams(seed, torch.arange(examples))):
        target = RandomTarget().choose(torch.zeros(examples, classes), y, source)
        assert (target != y).all()
        assert target.min() >= 0
        assert target.max() < classes


def test_random_target_is_uniform_over_the_others() -> None:
    n, classes = 18_000, 10
    for source in (torch.Generator().manual_seed(0), ExampleStreams(0, torch.arange(n))):
        for true in (0, 4, 9):
            target = RandomTarget().choose(torch.zeros(n, classes), torch.full((n,), true), source)
            counts = target.bincount(minlength=classes)
            assert counts[true] == 0
            assert stats.chisquare(counts[torch.arange(classes) != true].numpy()).pvalue > 1e-3


def test_random_target_of_an_example_does_not_depend_on_its_batch() -> None:
    y = torch.arange(10)
    together = RandomTarget().choose(torch.zeros(10, 10), y, ExampleStreams(3, torch.arange(10)))
    alone = [RandomTarget().choose(torch.zeros(1, 10), y[i : i + 1], ExampleStreams(3, torch.tensor([i]))).item() for i in range(10)]
    assert together.tolist() == alone
