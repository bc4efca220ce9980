"""A network that remembers its clean logits: what it gives from memory, and what goes through it."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from logitpair.evaluation.cached_logits import CachedLogits
from logitpair.models.inference import frozen_eval

X = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))


class Counting(nn.Module):
    """Sums of pixels as logits; counts the images that pass, and whether it is in eval mode by its own ``eval``."""

    def __init__(self) -> None:
        super().__init__()
        self.images, self.own_eval = 0, False

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return x.flatten(1)[:, :3] * torch.tensor([1.0, 2.0, 3.0])

    def eval(self) -> Self:
        self.own_eval = True
        return super().eval()


def test_the_clean_images_pass_once_and_anything_else_every_time() -> None:
    model = Counting()
    cached = CachedLogits(model, X)
    for _ in range(3):
        assert torch.equal(cached(X.clone()), Counting()(X))
    assert (model.images, cached.hits) == (5, 2)
    others = [X[:4], X.flip(0), X.double(), X + 1e-7]
    for other in others:
        assert torch.equal(cached(other), Counting()(other))
    assert cached(X.clone().requires_grad_()).requires_grad
    assert (model.images, cached.hits) == (5 + 4 + 5 * 4, 2)


def test_what_it_gives_may_be_changed_in_place() -> None:
    cached = CachedLogits(Counting(), X)
    for _ in range(3):
        cached(X).zero_()
    assert torch.equal(cached(X), Counting()(X))


def test_of_some_rows_it_knows_what_it_was_told_of_all() -> None:
    model = Counting()
    told = CachedLogits(model, X, Counting()(X))
    rows = torch.tensor([3, 1])
    some = told.on(rows)
    assert torch.equal(some(X[rows]), Counting()(X[rows]))
    assert (model.images, some.hits) == (0, 1)
    untold = CachedLogits(model, X)
    assert untold.on(torch.arange(5)) is untold
    assert torch.equal(untold.on(rows)(X[rows]), Counting()(X[rows]))
    assert model.images == 2


def test_a_network_that_overrides_eval_is_put_into_eval_mode_by_it_and_left_as_it_was() -> None:
    model = Counting().train()
    with frozen_eval(CachedLogits(model, X)):
        assert model.own_eval
        assert not model.training
    assert model.training
