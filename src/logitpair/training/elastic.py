"""A training that goes on when workers are lost, and takes standbys in; the one file that knows torchft.

Each worker is a process with the whole network. A lighthouse, which is a small server, names at the beginning of each step the workers
that are there. The first ``workers`` of them, in the order in which they came, share the step's batch as so many processes of
``torchrun`` would; the others are standbys and only follow. So the gradient is always the mean of exactly ``workers`` gradients, and the
weights are to rounding those of an ordinary run. Where a worker is lost in a step, the step is taken again, by those that are left and a
standby. A worker that comes, or comes back, is given the state of another before its first step.

Kannan et al. 2018 (arXiv 1803.06373) train with 53 workers and take the 50 gradients that arrive first in each step (Chen et al. 2016,
arXiv 1604.00981). Here the 50 are fixed until one is lost, so that a worker which is merely slow is waited for.
"""

import copy
import functools
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from logitpair.config.run_config import ElasticConfig
from logitpair.errors import InputError, first_line
from logitpair.runtime.distributed import World, store
from logitpair.runtime.lazy_imports import import_optional
from logitpair.runtime.signals import GracefulStop
from logitpair.training.process_team import Measures, ProcessTeam
from logitpair.training.train_state import TrainState

logger = logging.getLogger("logitpair")
NUMBERS = 64  # room for what a step measures, of which a standby does not know how much it is
QUORUM_TIMEOUT = timedelta(seconds=5)  # how long a worker waits for others before it looks whether it is to leave
GATHER_TIMEOUT = 3600.0  # seconds in which workers that are too few wait for others


@contextmanager
def process_team(config: ElasticConfig, world: World, state: TrainState, end: Path) -> Generator[ProcessTeam]:
    """Join the other workers of a run, over where the file ``end`` is; the ordinary team of ``world`` where ``workers`` is not given."""
    if config.workers is None:
        yield ProcessTeam(world, state)
        return
    if "RANK" in os.environ:
        raise InputError(f"elastic.workers is {config.workers} under torchrun; start each worker by itself, without torchrun")
    with joined_manager(config, world, state) as manager:
        yield ElasticTeam(world, state, config.workers, manager, config.timeout, end)


@contextmanager
def joined_manager(config: ElasticConfig, world: World, state: TrainState) -> Generator[Any]:
    """torchft's manager of this worker, connected to the lighthouse."""
    lighthouse = config.lighthouse or os.environ.get("TORCHFT_LIGHTHOUSE")
    if lighthouse is None:
        raise InputError("elastic.lighthouse is not given; accepted: the address of a torchft_lighthouse, such as http://host:29510")
    managers, groups = import_torchft()
    timeout = timedelta(seconds=config.timeout)
    group = (groups.ProcessGroupNCCL if world.device.type == "cuda" else groups.ProcessGroupGloo)(timeout=timeout)
    host = socket.gethostname()
    try:
        own = store(host, QUORUM_TIMEOUT)  # others reach it for as long as this block lasts
    except RuntimeError as error:
        raise InputError(f"elastic.workers: this machine's name, {host}, leads nowhere; workers reach each other by it") from error
    try:
        manager = managers.Manager(
            pg=group,
            state_dict=lambda: copy.deepcopy(state.state_dict()),  # the step goes on while it is sent
            load_state_dict=functools.partial(load_from_worker, state),
            min_replica_size=config.workers,
            world_size_mode=managers.WorldSizeMode.FIXED_WITH_SPARES,
            use_async_quorum=False,  # a worker is given the state before it takes a step, and not in its course
            init_sync=False,  # the seed makes the same weights everywhere
            timeout=timeout,
            connect_timeout=QUORUM_TIMEOUT,
            replica_id=f"{time.time_ns():020}",  # ranks are given in this order: whoever comes last is the standby
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
            f" start torchft_lighthouse --min_replicas {config.workers}"
        ) from error
    manager.load_state_dict({"step": state.step, "batches_committed": 0})
    try:
        yield manager
    finally:
        manager.shutdown()


class ElasticTeam(ProcessTeam):
    """The workers that a lighthouse knows of; each is a standby until its first step."""

    def __init__(self, world: World, state: TrainState, size: int, manager: Any, timeout: float, end: Path) -> None:
        super().__init__(world, state)
        self.rank = self.size = size
        self._manager, self._timeout, self._end = manager, timeout, end
        self._total, self._ahead, self._writes_end = 0, 0, None
        self._buffers: list[Tensor] = []
        self._message = ""

    def steps(self, take_step: Callable[[], Measures | None], total: int, stop: GracefulStop) -> Iterator[Measures]:
        self._total = total
        while self.state.step < total and self.gather(lambda: stop.requested or self._end.exists()):
            measures = take_step()
            if measures is not None:
                yield measures
            else:
                logger.info(f"step {self.state.step} is taken again: a worker was lost")

    def gather(self, leave: Callable[[], bool]) -> bool:
        """Come together for a step, at the newest of the workers' states; False if ``leave`` says so while others are waited for."""
        began = time.monotonic()
        while not leave():
            error = self._quorum()
            if error is None:
                rank = self._manager.participating_rank()
                self.rank = self._ahead = self.size if rank is None else rank
                self._log("a standby" if self.is_standby else f"worker {self.rank + 1} of {self.size}")
                self._buffers = [buffer.clone() for buffer in averaged_buffers(self.state.model)]
                return True
            if time.monotonic() - began > GATHER_TIMEOUT:
                raise InputError(f"elastic.workers: {self.size} did not come together ({first_line(error)})") from error
        return False

    def _quorum(self) -> Exception | None:
        """Ask the lighthouse who is there, connect to them and take over their state; what failed, if anything did."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The given buffer is not writable")  # where torch reads the state that was sent
                self._manager.start_quorum(timeout=QUORUM_TIMEOUT)
        except (RuntimeError, TimeoutError) as error:
            self._manager._quorum_future = None  # it would raise again what it has raised
            self._log("waiting for workers and the lighthouse")
            return error
        error = self._manager.errored()
        if error is not None:
            self._manager.should_commit()  # no: it counts the failure, so that all come together anew
            self._log(f"trying again to reach the other workers ({first_line(error)})")
        return error

    def _log(self, message: str) -> None:
        """Log it, once."""
        if message != self._message:
            logger.info(f"step {self._manager.current_step()}: {message}")
        self._message = message

    @torch.no_grad()
    def average(self, measures: Measures) -> Measures | None:
        """Give all workers, standbys too, the mean of the gradients, buffers and measures of those that share the batch."""
        numbers = torch.zeros(NUMBERS, dtype=torch.float64, device=self.world.device)
        if len(measures) >= NUMBERS:
            raise InputError(f"objective: measures {len(measures)} numbers in a step; accepted with elastic.workers: {NUMBERS - 1}")
        numbers[0] = 1
        for slot, value in enumerate(measures.values(), 1):
            numbers[slot] = value
        gradients: list[Tensor] = []
        for parameter in self.state.model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients.append(parameter.grad)
        buffers = averaged_buffers(self.state.model)
        mean_gradients = torch.cat([gradient.flatten() for gradient in gradients])
        # counts too must be the same in a standby, and are whole numbers also in float64
        means = torch.cat([numbers, *(buffer.double().flatten() for buffer in buffers)])
        for vector in (mean_gradients, means):
            self._manager.allreduce(vector).wait()  # zeros for a standby's
        if not self._manager.should_commit():
            for buffer, before in zip(buffers, self._buffers, strict=True):
                buffer.copy_(before)
            return None
        if means[0] != 1:
            raise InputError(f"elastic.workers: {self.size} here and another number elsewhere; accepted: the same for all workers")
        scatter(mean_gradients, gradients)
        scatter(means[NUMBERS:], buffers)
        names = list(measures) or ["loss"]  # which is the first
        return dict(zip(names, means[1:NUMBERS], strict=False))

    def is_writer(self) -> bool:
        """The first worker; at the end of the run the next one, where the one before it has not written it in time."""
        if self.state.step < self._total:
            return self.rank == 0
        if self._writes_end is None:
            deadline = time.monotonic() + self._timeout * self._ahead
            while not self._end.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            self._writes_end = not self._end.exists()
        return self._writes_end


def averaged_buffers(model: nn.Module) -> list[Tensor]:
    """Statistics and counts; complex numbers, which are constants, stay as they are."""
    return [buffer for buffer in model.buffers() if not buffer.is_complex()]


def scatter(vector: Tensor, into: list[Tensor]) -> None:
    """The values of ``vector``, one after the other, into tensors that may have other types."""
    for tensor, values in zip(into, vector.split([tensor.numel() for tensor in into]), strict=True):
        tensor.copy_(values.view(tensor.shape))


def load_from_worker(state: TrainState, values: dict[str, Any]) -> None:
    """Take over another worker's state, refused where it is that of another network or optimizer."""
    try:
        state.load_state_dict(values)
    except (RuntimeError, KeyError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"elastic: another worker's state does not fit ({reason}); accepted: the same settings for all workers") from error


def import_torchft() -> tuple[Any, Any]:
    """The optional library's modules ``manager`` and ``process_group``, silent: a lost worker is no error here."""
    os.environ.setdefault("RUST_LOG", "error")
    logging.getLogger("torchft").setLevel(logging.CRITICAL)
    manager = import_optional("torchft.manager", "Manager", needed_by="elastic.workers", extra="elastic")
    return manager, import_optional("torchft.process_group", "ProcessGroupGloo", needed_by="elastic.workers", extra="elastic")
