"""How many threads of a CPU a network is run on: a small one gains nothing from a second, which waits for the first or is waited for.

Two threads meet at the end of every operation. Where another program keeps one of them from its core, the other waits, and for a small
network that is most of the time.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from logitpair.runtime.flops import CountedFlops

SMALL = 4e8  # floating-point operations of a batch's forward pass: some 10 ms of a core, a few of them an operation


@contextmanager
def restored() -> Generator[None]:
    """A block that may change the number of threads."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def suit(model: nn.Module, x: Tensor, batch_size: int) -> None:
    """Leave one thread for a network that is little work; with ``OMP_NUM_THREADS`` set the number stays.

    Args:
        model: in eval mode, frozen; run once.
        x: images ``[batch, channels, height, width]``, of which the first is looked at.
        batch_size: images that are run together.
    """
    if x.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ and forward_flops(model, x[:1]) * batch_size < SMALL:
        torch.set_num_threads(1)


def forward_flops(model: nn.Module, x: Tensor) -> float:
    """Operations of a forward pass; infinitely many where they cannot be counted."""
    counted = CountedFlops()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), counted:
            model(x.clone())
    except Exception:  # the network may be the user's, and was tried before
        return float("inf")
    return counted.total or float("inf")  # of a file's fused operations there is no formula
