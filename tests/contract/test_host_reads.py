"""An attack queues its work on the device: the host waits for a value where examples may leave the search, and nowhere else in its steps.

In L2 it also waits for the projection onto ball and box, which is exact and iterates until it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from devices import devices
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import logitpair as lp
from logitpair.attacks import Attack
from logitpair.attacks.cuda_graphs import ENOUGH

BALL = lp.Linf(0.1)
READ = {torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.is_nonzero, torch.ops.aten.equal}
ATTACKS: dict[str, Attack] = {
    "pgd": lp.attacks.PGD(BALL, step_size=0.01, steps=5),
    "restarts": lp.attacks.PGD(BALL, step_size=0.01, steps=5, restarts=2),
    "targeted": lp.attacks.PGD(BALL, step_size=0.01, steps=5, target=lp.attacks.LeastLikely()),
    "apgd": lp.attacks.APGD(BALL, steps=5),
    "diversified": lp.attacks.DiversifiedPGD(BALL, steps=5),
}


class Reads(TorchDispatchMode):
    """Counts what copies a value from a device to the host, were the tensors on one."""

    number = 0

    def __torch_dispatch__(self, function: Any, _: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None) -> Any:
        masked = function.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)
        mask = masked and any(part is not None and part.dtype == torch.bool for part in arguments[1])
        self.number += mask or function.overloadpacket in READ
        return function(*arguments, **(options or {}))


@contextmanager
def reads(device: str) -> Generator[Any]:
    """Counts how often the host waits: on a GPU as CUDA reports it, on the CPU by the operations that would."""
    counted = Reads()
    if device == "cpu":
        with counted:
            yield counted
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield counted
        counted.number = sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(attack: Attack, device: str) -> int:
    """How often one call waits, on a network that it does not fool."""
    torch.manual_seed(0)
    x, y = torch.rand(8, 1, 8, 8, device=device), torch.zeros(8, dtype=torch.int64, device=device)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).to(device)
    model[1].bias.data[0] = 100.0  # pyright: ignore
    for _ in range(ENOUGH + 2):
        attack(model, x, y)  # what is set up at first, and every shape captured
    with reads(device) as counted:
        attack(model, x, y)
    return counted.number


@devices
@pytest.mark.parametrize("name", ATTACKS)
def test_as_in_training_no_step_waits(name: str, device: str) -> None:
    attack = ATTACKS[name].without_early_stop()
    assert waits(replace(attack, steps=25), device) == waits(attack, device)


@devices
@pytest.mark.parametrize("name", ATTACKS)
def test_with_early_stop_a_step_waits_once(name: str, device: str) -> None:
    attack = ATTACKS[name]
    assert waits(replace(attack, steps=25), device) - waits(attack, device) <= 20 * getattr(attack, "restarts", 1)


def test_what_waits_is_counted() -> None:
    x = torch.rand(4)
    for read in (x.sum().item, x.nonzero, lambda: bool((x > 0).any()), lambda: x[x > 0], lambda: x.masked_fill_(x > 2, 0)[x > 0]):
        with Reads() as counted:
            read()
        assert counted.number == 1
