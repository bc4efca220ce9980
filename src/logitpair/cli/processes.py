"""Several processes of one command on the cores of a CPU, which share its work as those of ``torchrun`` do."""

import os
import signal
import socket
import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

import torch

from logitpair.data import batches, count, first
from logitpair.errors import InputError
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.runtime import distributed, threads
from logitpair.runtime.distributed import World
from logitpair.sweeps.runner import BAD_INPUT, POLL, run_commands

SPEED = 3e10  # floating-point operations that a core does in a second for a small network
WORTH = 20.0  # seconds of work that are worth a process, which takes some to start
EACH = 8  # processes of a core at most
GRACE = 30.0  # seconds in which a process that is lost has ended, on a busy machine too


def how_many(asked: int | Literal["auto"], task: EvaluationTask, passes: float, world: World) -> int:
    """How many processes: those asked for, or one a core for a network that leaves the others idle, if there is enough work.

    Args:
        asked: the number, or ``auto``.
        task: what is worked on.
        passes: forward and backward passes that an image takes.
        world: the processes that there are without.
    """
    alone = world.size == 1 and world.device.type == "cpu" and "RANK" not in os.environ
    if asked != "auto":
        if asked > 1 and not alone:
            raise InputError(f"--processes: {asked} go with --device cpu and without torchrun, which says itself how many there are")
        most = min(count(task.test) or cores(), EACH * cores())
        if asked > max(1, most):
            raise InputError(f"--processes: {asked} are more than help; accepted: at most one an image and {EACH} a core, here {most}")
        return asked
    examples, free = count(task.test), cores()
    if not (alone and free > 1 and examples and "OMP_NUM_THREADS" not in os.environ):
        return 1
    image, _ = next(batches(first(task.test, 1), 1, world.device))
    flops = threads.forward_flops(task.model, image)
    if flops * task.batch_size >= threads.SMALL:
        return 1
    seconds = 3 * flops * passes * examples / SPEED
    return max(1, min(free, -(-examples // task.batch_size), int(seconds / WORTH)))


def cores() -> int:
    """The cores that this process may use; 1 where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


@contextmanager
def together(command: Sequence[str], number: int, timeout: timedelta) -> Generator[World]:
    """So many processes of the same command, of which this is the first, each with an equal share of the cores; the others end with it.

    Raises:
        InputError: what another of them ended with.
    """
    store = distributed.store("127.0.0.1", timeout)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    place |= {"WORLD_SIZE": str(number), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // number)))}
    loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]  # the host's name may lead nowhere
    place |= {"GLOO_SOCKET_IFNAME": loopback[0]} if loopback else {}
    before, ends = dict(os.environ), list[signal.Signals]()

    with threads.restored(), ThreadPoolExecutor(number - 1) as pool:
        end = [*command, "--"].index("--")  # of the options
        commands = [[*command[:end], "--processes", "auto", *command[end:]]]
        others = [pool.submit(run_commands, None, commands, {**place, "RANK": str(rank)}, ends) for rank in range(1, number)]
        os.environ |= {**place, "RANK": "0"}
        torch.set_num_threads(int(place["OMP_NUM_THREADS"]))
        try:
            while not distributed.have_come(store, number):
                if any(process.done() for process in others):
                    raise RuntimeError("one never came")
                time.sleep(POLL)
            with distributed.join(torch.device("cpu"), timeout) as world:
                yield world
        except RuntimeError as error:
            ended, _ = wait(others, GRACE, FIRST_COMPLETED)  # one that is lost breaks off what the others send it
            for outcome in (process.result() for process in ended):
                if outcome.code:
                    found = outcome.message if outcome.code == BAD_INPUT else f"--processes: one of {number} is lost: {outcome.message}"
                    raise InputError(found) from error
            raise
        finally:
            os.environ.clear()
            os.environ |= before
            ends.append(signal.SIGKILL)  # what they have done is written, whole or not at all
