"""The one file that knows how many processes ``torchrun`` started; ``training.elastic`` lets workers come and go."""

import os
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

FAREWELL = 0.2  # seconds for gloo's threads to let go of their last messages: freeing the group while they want Python's lock hangs


@dataclass(frozen=True)
class World:
    """``size`` data-parallel processes, as the one of ``rank`` (from 0) sees them, which works on ``device``."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0


ALONE = World(rank=0, size=1, device=torch.device("cpu"))
"""A world of one process; its device is not looked at."""


def is_main_process() -> bool:
    """Whether this process writes files and prints, before it has joined the others."""
    return int(os.environ.get("RANK", "0")) == 0


def has_joined() -> bool:
    """Whether this process shares its work with others just now."""
    return dist.is_initialized()


@contextmanager
def join(device: torch.device, timeout: timedelta | None = None) -> Generator[World]:
    """Join the processes that ``torchrun`` started (a world of one without it), and leave when done; each takes a GPU of its own.

    ``timeout`` is how long a process waits for the others, which may take longer over their work; PyTorch's minutes if None.
    """
    if "RANK" not in os.environ:
        yield World(rank=0, size=1, device=device)
        return
    # torchrun keeps its store when it restarts processes: without a prefix of their own they would read where those before them listened
    store, rank, size = next(dist.rendezvous("env://"))  # pyright: ignore[reportPrivateImportUsage]
    store = dist.PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)  # pyright: ignore[reportPrivateImportUsage]
    store.set(f"came-{rank}", "")
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
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


def unwrap_model(model: nn.Module) -> nn.Module:
    """The module inside the data-parallel wrapper and what ``torch.compile`` made: what attacks, EMA and checkpoints work on."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return getattr(inner, "_orig_mod", inner)


@torch.no_grad()
def average_buffers(model: nn.Module, world: World) -> None:
    """Give every process the mean of the floating-point buffers (BatchNorm statistics), so that all attack and save the same model."""
    for buffer in model.buffers() if world.size > 1 else ():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= world.size


def mean(value: Tensor, world: World) -> Tensor:
    """The mean of ``value`` over the processes."""
    if world.size == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / world.size


def store(host: str, timeout: timedelta) -> Any:
    """A store of this process, at a free ``port``, for others that reach ``host``; ``RuntimeError`` if that is another machine's name."""
    return dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=timeout)  # pyright: ignore[reportPrivateImportUsage]


def have_come(others: Any, size: int) -> bool:
    """Whether all processes but the first are joining those of this ``store``."""
    return others.check([f"restart-0/came-{rank}" for rank in range(1, size)])


@contextmanager
def main_first(world: World) -> Generator[None]:
    """Let the main process go through the block before the others do."""
    if not world.is_main:
        barrier(world)
    yield
    if world.is_main:
        barrier(world)


def barrier(world: World) -> None:
    """Return when every process has come here."""
    if world.size > 1:
        dist.barrier()


def any_process(flag: bool | Tensor, world: World) -> bool:
    """Whether ``flag`` is set in at least one process (an interrupt reaches them at different moments)."""
    if world.size == 1:
        return bool(flag)
    value = torch.tensor(float(flag), device=world.device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value)
