"""A network that remembers its clean logits: what it gives from memory, and what goes through it."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from logitpair.evaluation.recall import Recall
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
    recall = Recall(model, X)
    for _ in range(3):
        assert torch.equal(recall(X.clone()), Counting()(X))
    assert (model.images, recall.recalled) == (5, 2)
    others = [X[:4], X.flip(0), X.double(), X + 1e-7]
    for other in others:
        assert torch.equal(recall(other), Counting()(other))
    assert recall(X.clone().requires_grad_()).requires_grad
    assert (model.images, recall.recalled) == (5 + 4 + 5 * 4, 2)


def test_what_it_gives_may_be_changed_in_place() -> None:
    recall = Recall(Counting(), X)
    for _ in range(3):
        recall(X).zero_()
    assert torch.equal(recall(X), Counting()(X))


def test_of_some_rows_it_knows_what_it_was_told_of_all() -> None:
    model = Counting()
    told = Recall(model, X, Counting()(X))
    rows = torch.tensor([3, 1])
    some = told.on(rows)
    assert torch.equal(some(X[rows]), Counting()(X[rows]))
    assert (model.images, some.recalled) == (0, 1)
    untold = Recall(model, X)
    assert untold.on(torch.arange(5)) is untold
    assert torch.equal(untold.on(rows)(X[rows]), Counting()(X[rows]))
    assert model.images == 2


def test_a_network_that_overrides_eval_is_put_into_eval_mode_by_it_and_left_as_it_was() -> None:
    model = Counting().train()
    with frozen_eval(Recall(model, X)):
        assert model.own_eval
        assert not model.training
    assert model.training
