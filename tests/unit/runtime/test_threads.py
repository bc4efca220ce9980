"""How many threads a network is run on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.runtime import threads

X = torch.zeros(1, 1, 28, 28)


class Refusing(nn.Module):
    """Runs under no dispatch mode."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of two threads, whose user has not chosen."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads.torch, "get_num_threads", lambda: 2)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What PyTorch was told."""
    numbers: list[int] = []
    monkeypatch.setattr(threads.torch, "set_num_threads", numbers.append)
    return numbers


def test_operations_are_counted_for_one_image() -> None:
    layer = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    assert threads.forward_flops(layer, X) == 2 * 784 * 10
    assert threads.forward_flops(Refusing(), X) == threads.forward_flops(nn.Flatten(), X) == float("inf")


def test_small_work_gets_one_thread_and_other_work_what_there_are(chosen: list[int]) -> None:
    layer = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    enough = int(threads.SMALL / (2 * 784 * 10)) + 1
    threads.suit(layer, X, enough)
    threads.suit(Refusing(), X, 1)
    assert chosen == []
    threads.suit(layer, X, enough - 1)
    assert chosen == [1]


def test_the_networks_of_the_recipes_are_told_apart(chosen: list[int]) -> None:
    threads.suit(lp.models.LeNet(), X, 50)
    assert chosen == []
    threads.suit(lp.models.SmallConvNet(), torch.zeros(1, 1, 8, 8), 256)
    assert chosen == [1]


def test_what_the_user_has_chosen_stays(monkeypatch: pytest.MonkeyPatch, chosen: list[int]) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    threads.suit(lp.models.SmallConvNet(), torch.zeros(1, 1, 8, 8), 1)
    assert chosen == []


def test_the_number_is_put_back_and_no_random_number_is_drawn(chosen: list[int]) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(784, 2))
    before = torch.get_rng_state()
    with threads.restored():
        threads.suit(network, X, 1)
    assert chosen == [1, 2]
    assert torch.equal(torch.get_rng_state(), before)
