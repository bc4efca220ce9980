"""The one file that knows how many processes there are; ``elastic`` lets them come and go."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """This process's place among the data-parallel ones, and the device it works on.

    Args:
        rank: which of them it is, from 0; ``size`` or more for a spare one, which has no part in the work.
        size: how many share the work.
        device: where this one works.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    @property
    def is_spare(self) -> bool:
        """Whether this process waits for another's place."""
        return self.rank >= self.size


FAREWELL = 0.2
"""Seconds in which gloo's threads may let go of their last messages: whoever frees the group while they want Python's lock hangs."""

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
"""A world of one process; its device is not looked at."""


def is_main_process() -> bool:
    """Whether this process writes files and prints, before it has joined the others."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def join(device: torch.device, patience: timedelta | None = None) -> Generator[World]:
    """Join the processes that ``torchrun`` started (a world of one without it), and leave when done.

    Args:
        device: where to work; of several GPUs each process takes its own.
        patience: how long a process waits for the others, whose shares of the work may take longer; PyTorch's minutes if None.
    """
    if "RANK" not in os.environ:
        yield World(rank=0, size=1, device=device)
        return
    # torchrun keeps its store when it restarts processes: without a name of their own they would read where those before them listened
    store, rank, size = next(dist.rendezvous("env://"))  # pyright: ignore[reportPrivateImportUsage]
    store = dist.PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)  # pyright: ignore[reportPrivateImportUsage]
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), device=device)
    finally:
        time.sleep(FAREWELL)
        dist.destroy_process_group()


def data_parallel(model: nn.Module, world: World) -> nn.Module:
    """Wrap the model so that gradients are averaged over the processes; the model itself in a world of one."""
    if world.size == 1:
        return model
    devices = [world.device.index] if world.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices)


def synchronized(model: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Average the gradients over the processes in the backward passes of this block, or only add them up (``now`` False)."""
    return nullcontext() if now or not isinstance(model, DistributedDataParallel) else model.no_sync()


def bare(model: nn.Module) -> nn.Module:
    """The module inside the data-parallel wrapper and what ``torch.compile`` made: what attacks, EMA and checkpoints work on."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return getattr(inner, "_orig_mod", inner)


@torch.no_grad()
def average_buffers(model: nn.Module, world: World) -> None:
    """Give every process the mean of the floating-point buffers (BatchNorm statistics), so that all attack and save the same model."""
    if world.size == 1:
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= world.size


def mean(value: Tensor, world: World) -> Tensor:
    """The mean of ``value`` over the processes."""
    if world.size > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= world.size
    return value


def store(host: str, timeout: timedelta) -> Any:
    """A store of this process's own, at a free ``port``, for others that reach ``host``.

    Raises:
        RuntimeError: if ``host`` is no name of this machine, after the ``timeout``.
    """
    return dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=timeout)  # pyright: ignore[reportPrivateImportUsage]


def positions(examples: int, world: World) -> Tensor:
    """Which of a batch's ``examples`` are this process's: every ``size``-th, as they are dealt out."""
    return torch.arange(world.rank, examples, world.size)


@contextmanager
def main_first(world: World) -> Generator[None]:
    """Let the main process go through the block before the others do."""
    if not world.is_main:
        wait(world)
    yield
    if world.is_main:
        wait(world)


def wait(world: World) -> None:
    """Return when every process has come here."""
    if world.size > 1:
        dist.barrier()


def any_process(flag: bool, world: World) -> bool:
    """Whether ``flag`` is set in at least one process (an interrupt reaches them at different moments)."""
    if world.size == 1:
        return flag
    value = torch.tensor(float(flag), device=world.device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value)


class ProcessTeam:
    """The processes that share the steps of a training: here always all of a world, while those of ``elastic.Workers`` come and go.

    Args:
        world: the processes that ``join`` joined.

    Attributes:
        place: this process's place in the step, which says what part of the batch is its own.
    """

    def __init__(self, world: World) -> None:
        self.place = world

    def gather(self, leave: Callable[[], bool]) -> bool:
        """Come together for a step, and take a place in it; False if ``leave`` said so while others were waited for."""
        return True

    def average(self, model: nn.Module, measures: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """After the backward passes, give all processes the same gradients and buffers.

        Args:
            model: the bare network. Its gradients are averaged already where ``data_parallel`` wrapped it.
            measures: what this process measured.

        Returns:
            What is known of the measures, whose mean over the processes is that of the batch, or None if a process was lost on the
            way, so that the step must be taken again.
        """
        average_buffers(model, self.place)
        return measures

    def writes_the_end(self, done: Path) -> bool:
        """Whether it is this process that writes the end of the run, of which the file ``done`` is the last."""
        return self.place.is_main
