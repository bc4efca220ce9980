"""A training that goes on when workers are lost, and takes spare ones in: the one file that knows torchft.

Each worker is a process of its own with the whole network. A lighthouse, which is a small server, tells them at the beginning of each
step who is there. The first ``workers`` of them, in the order in which they came, share the step's batch as so many processes of
``torchrun`` would; the others are spare and only follow. So the gradient is always the mean of exactly ``workers`` gradients, and the
weights are to rounding those of an ordinary run. Where a worker is lost in a step, the step is taken again, by those that are left and a
spare one. A worker that comes, or comes back, is given the state of another before its first step.

Kannan et al. 2018 (arXiv 1803.06373) train with 53 workers and take the 50 gradients that arrive first in each step (Chen et al. 2016,
arXiv 1604.00981). Here the 50 are fixed until one is lost, so that a worker which is merely slow is waited for.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from logitpair.errors import InputError, first_line
from logitpair.runtime.distributed import ProcessTeam, World, store
from logitpair.validate import at_least, positive

NUMBERS = 64
"""Room for what a step measures, of which a spare worker does not know how much it is."""

LOOK_UP = timedelta(seconds=5)
"""How long a worker that waits for others does so before it looks whether it shall leave."""

PATIENCE = 3600.0
"""Seconds in which workers that are too few wait for others."""


@dataclass(frozen=True, kw_only=True)
class Elastic:
    """Which workers share each step, where they may be lost on the way; needs ``pip install 'logitpair[elastic]'``.

    Args:
        workers: how many share a step's batch; those beyond are spare. By default training is an ordinary one.
        lighthouse: address of torchft's server, such as ``http://host:29510``; the environment's ``TORCHFT_LIGHTHOUSE`` by default.
        timeout: seconds after which a worker that does not answer within a step is given up.

    Raises:
        InputError: for less than one worker or no time, or an address without workers.
    """

    workers: int | None = None
    lighthouse: str | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.workers is not None:
            at_least("elastic.workers", self.workers, 1)
        elif self.lighthouse is not None:
            raise InputError(f"elastic.lighthouse is {self.lighthouse} but elastic.workers is not given; say how many share a step")
        positive("elastic.timeout", self.timeout)

    @contextlib.contextmanager
    def join(
        self,
        world: World,
        model: nn.Module,
        state: Callable[[], dict[str, Any]],
        put: Callable[[dict[str, Any]], None],
        say: Callable[[str], None],
    ) -> Generator[ProcessTeam]:
        """Join the other workers, and leave when done; the ordinary team of ``world`` where ``workers`` is not given.

        Args:
            world: what ``distributed.join`` gave: this process alone.
            model: the bare network.
            state: gives everything that training changes, with its ``step``.
            put: takes over such a state.
            say: tells the user something.

        Raises:
            InputError: where torchft is not installed, processes of ``torchrun`` would each be a worker, or no lighthouse answers.
        """
        if self.workers is None:
            yield ProcessTeam(world)
            return
        if "RANK" in os.environ:
            raise InputError(f"elastic.workers is {self.workers} under torchrun; start each worker by itself, without torchrun")
        lighthouse = self.lighthouse or os.environ.get("TORCHFT_LIGHTHOUSE")
        if lighthouse is None:
            raise InputError("elastic.lighthouse is not given; accepted: the address of a torchft_lighthouse, such as http://host:29510")
        managers, groups = _torchft()
        timeout = timedelta(seconds=self.timeout)
        group = (groups.ProcessGroupNCCL if world.device.type == "cuda" else groups.ProcessGroupGloo)(timeout=timeout)
        host = socket.gethostname()
        try:
            own = store(host, LOOK_UP)
        except RuntimeError as error:
            raise InputError(f"elastic.workers: this machine's name, {host}, leads nowhere; workers reach each other by it") from error
        try:
            manager = managers.Manager(
                pg=group,
                state_dict=lambda: copy.deepcopy(state()),  # the step goes on while it is sent
                load_state_dict=functools.partial(_take, put),
                min_replica_size=self.workers,
                world_size_mode=managers.WorldSizeMode.FIXED_WITH_SPARES,
                use_async_quorum=False,  # a worker is given the state before it takes a step, and not in its course
                init_sync=False,  # the seed makes the same weights everywhere
                timeout=timeout,
                connect_timeout=LOOK_UP,
                replica_id=f"{time.time_ns():020}",  # places are given in this order: whoever comes last is the spare one
                rank=0,
                world_size=1,
                store_addr=host,
                store_port=own.port,
                lighthouse_addr=lighthouse,
                hostname=host,
            )
        except (RuntimeError, TimeoutError, ValueError) as error:
            raise InputError(
                f"elastic.lighthouse: nobody answers at {lighthouse} ({first_line(error)});"
                f" start torchft_lighthouse --min_replicas {self.workers}"
            ) from error
        manager.load_state_dict({"step": state()["step"], "batches_committed": 0})
        try:
            yield Workers(World(self.workers, self.workers, world.device), model, manager, self.timeout, say)
        finally:
            manager.shutdown()


class Workers(ProcessTeam):
    """The workers that a lighthouse knows of.

    Args:
        place: that of a spare worker, which everyone is until the first step.
        model: the bare network.
        manager: torchft's manager of this worker.
        timeout: seconds that the first worker is waited for at the end.
        say: tells the user something.
    """

    def __init__(self, place: World, model: nn.Module, manager: Any, timeout: float, say: Callable[[str], None]) -> None:
        super().__init__(place)
        self._model, self._manager, self._timeout, self._say = model, manager, timeout, say
        self._buffers: list[Tensor] = []
        self._told = ""

    def gather(self, leave: Callable[[], bool]) -> bool:
        """Come together for a step, at the newest of the workers' states.

        Raises:
            InputError: if too few workers came, or the lighthouse did not answer, for an hour.
        """
        began = time.monotonic()
        size = self.place.size
        while not leave():
            error = self._quorum()
            if error is not None:
                if time.monotonic() - began > PATIENCE:
                    raise InputError(f"elastic.workers: {size} did not come together ({_first_line(error)})") from error
                continue
            rank = self._manager.participating_rank()
            place = World(size if rank is None else rank, size, self.place.device)
            self._tell("a spare worker" if place.is_spare else f"worker {place.rank + 1} of {size}")
            self.place = place
            self._buffers = [buffer.clone() for buffer in self._model.buffers()]
            return True
        return False

    def _quorum(self) -> Exception | None:
        """Ask the lighthouse who is there, connect to them and take over their state; what failed, if anything did."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The given buffer is not writable")  # where torch reads the state that was sent
                self._manager.start_quorum(timeout=LOOK_UP)
        except (RuntimeError, TimeoutError) as error:
            self._manager._quorum_future = None  # it would raise again what it has raised
            self._tell("waiting for workers and the lighthouse")
            return error
        error = self._manager.errored()
        if error is not None:
            self._manager.should_commit()  # no: it counts the failure, so that all come together anew
            self._tell(f"trying again to reach the other workers ({_first_line(error)})")
        return error

    def _tell(self, news: str) -> None:
        """Say it once."""
        if news != self._told:
            self._say(f"step {self._manager.current_step()}: {news}")
        self._told = news

    @torch.no_grad()
    def average(self, model: nn.Module, measures: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """Give all workers, spare ones too, the mean of the gradients, buffers and measures of those that have a place.

        Raises:
            InputError: where others count another number of workers, or the objective measures more than there is room for.
        """
        numbers = torch.zeros(NUMBERS, dtype=torch.float64, device=self.place.device)
        if len(measures) >= NUMBERS:
            raise InputError(f"objective: measures {len(measures)} numbers in a step; accepted with elastic.workers: {NUMBERS - 1}")
        numbers[0] = 1
        for slot, value in enumerate(measures.values(), 1):
            numbers[slot] = value
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None])
        # counts too must be the same in a spare worker, and are whole numbers also in float64
        rest = torch.cat([numbers, *(buffer.double().flatten() for buffer in model.buffers())])
        for vector in (gradients, rest):
            self._manager.allreduce(vector).wait()  # zeros for a spare worker's
        if not self._manager.should_commit():
            for buffer, before in zip(model.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
            return None
        if rest[0] != 1:
            raise InputError(f"elastic.workers: {self.place.size} here and another number elsewhere; accepted: the same for all workers")
        _scatter(gradients, [parameter.grad for parameter in trained if parameter.grad is not None])
        _scatter(rest[NUMBERS:], list(model.buffers()))
        names = list(measures) or ["loss"]  # which is the first
        return dict(zip(names, rest[1:NUMBERS], strict=False))

    def writes_the_end(self, done: Path) -> bool:
        """The first worker, or the next one if ``done`` is not there after the time in which the one before should have written it."""
        deadline = time.monotonic() + self._timeout * self.place.rank
        while not self.place.is_main and not done.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not done.exists()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _scatter(vector: Tensor, into: list[Tensor]) -> None:
    """The values of ``vector``, one after the other, into tensors that may have other types."""
    for tensor, values in zip(into, vector.split([tensor.numel() for tensor in into]), strict=True):
        tensor.copy_(values.view(tensor.shape))


def _take(put: Callable[[dict[str, Any]], None], state: dict[str, Any]) -> None:
    """Take over another worker's state.

    Raises:
        InputError: where it is that of another network or optimizer.
    """
    try:
        put(state)
    except (RuntimeError, KeyError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"elastic: another worker's state does not fit ({reason}); accepted: the same settings for all workers") from error


def _torchft() -> tuple[Any, Any]:
    """The library's modules ``manager`` and ``process_group``; it is an optional one.

    Raises:
        InputError: where it is not installed.
    """
    os.environ.setdefault("RUST_LOG", "error")  # a lost worker is no error here, and is told in one line
    logging.getLogger("torchft").setLevel(logging.CRITICAL)
    try:
        from torchft import manager, process_group  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(f"elastic.workers needs torchft, which cannot be imported ({error}): pip install 'logitpair[elastic]'") from error
    return manager, process_group
