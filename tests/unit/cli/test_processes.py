"""Processes of one command that share its work, and how many are worth while."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from multiprocessing import connection, forkserver

import pytest
import torch
from many_processes import FORKED, peer
from torch import nn

from logitpair import InputError
from logitpair.cli import processes
from logitpair.cli.processes import how_many, together
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.runtime import distributed
from logitpair.runtime.distributed import ALONE, World
from logitpair.sweeps.runner import Outcome

TIMEOUT = timedelta(seconds=60)
SMALL = nn.Sequential(nn.Flatten(), nn.Linear(1000, 20))  # 40,000 operations an image: 4 microseconds of a gradient
LARGE = nn.Sequential(nn.Flatten(), nn.Linear(1000, 2000))
HOUR = 9e8  # passes over an image that take a core an hour


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "RANK"):
        monkeypatch.delenv(name, raising=False)


def task(model: nn.Module = SMALL, images: int = 1000, batch_size: int = 100) -> EvaluationTask:
    return EvaluationTask(model=model, test=(torch.zeros(images, 1, 10, 100), torch.zeros(images).long()), batch_size=batch_size)


@pytest.mark.parametrize(
    ("seconds", "given", "number"),
    [
        (3600, {}, 8),
        (100, {}, 5),  # 20 seconds each
        (30, {}, 1),
        (3600, {"images": 250}, 3),  # no more than batches
        (3600, {"model": LARGE}, 1),  # has use for threads
    ],
)
def test_there_are_as_many_as_have_enough_to_do(seconds: float, given: dict, number: int) -> None:
    of = task(**given)
    assert how_many("auto", of, HOUR * seconds / 3600 / len(of.test[0]), ALONE) == number  # type: ignore[index]


def test_what_else_is_at_work_keeps_it_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert how_many("auto", task(), HOUR, World(0, 1, torch.device("cuda"))) == 1
    assert how_many("auto", task(), HOUR, World(0, 2, torch.device("cpu"))) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert how_many("auto", task(), HOUR, ALONE) == 1
    assert how_many(3, task(), 0, ALONE) == 3, "as it is asked"
    monkeypatch.setenv("RANK", "0")
    assert how_many("auto", task(), HOUR, ALONE) == 1
    for world in (ALONE, World(0, 1, torch.device("cuda"))):
        with pytest.raises(InputError, match="--processes: 3 go with --device cpu and without torchrun"):
            how_many(3, task(), HOUR, world)


def test_more_than_help_are_refused() -> None:
    assert how_many(64, task(images=1000), HOUR, ALONE) == 64
    for asked, images in ((65, 1000), (3, 2)):
        with pytest.raises(InputError, match=f"--processes: {asked} are more than help; accepted: at most one an image and 8 a core"):
            how_many(asked, task(images=images), HOUR, ALONE)


def play(monkeypatch: pytest.MonkeyPatch, lives: bool) -> tuple[list[list[str]], list[int | None]]:
    """Have ``peer`` take the place of the command; the lists are of the commands that it was given, and of its exit codes."""
    given, codes, lock = list[list[str]](), list[int | None](), threading.Lock()
    forkserver.ensure_running()  # a program that starts while another thread changes the environment may find none

    def run(name: None, commands: Sequence[list[str]], environment: dict[str, str], signals: list[signal.Signals]) -> Outcome:
        given.extend(commands)
        with lock:  # starting one reads how the others ended, which only one thread may do
            process = FORKED.Process(target=peer, args=(environment, lives))
            process.start()
        while not connection.wait([process.sentinel], 0.1):
            for number in signals:
                os.kill(process.pid or 0, number)
        with lock:
            codes.append(process.exitcode)
        return Outcome(process.exitcode or 0, "it ended by itself")

    monkeypatch.setattr(processes, "run_commands", run)
    return given, codes


def test_they_share_the_cores_and_end_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    (given, codes), before, threads = play(monkeypatch, lives=True), dict(os.environ), torch.get_num_threads()
    with together(["evaluate", "--", "run"], 3, TIMEOUT) as world:
        assert (world.rank, world.size) == (0, 3)
        assert (os.environ["RANK"], os.environ["OMP_NUM_THREADS"], torch.get_num_threads()) == ("0", "2", 2)
        distributed.barrier(world)
    assert codes == [-signal.SIGKILL] * 2, "they slept to their end"
    assert given == [["evaluate", "--processes", "auto", "--", "run"]] * 2
    assert dict(os.environ) == before
    assert torch.get_num_threads() == threads


def test_one_that_is_lost_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lives=False)

    def work() -> None:
        with together([], 2, TIMEOUT) as world:
            distributed.barrier(world)
            distributed.barrier(world)

    with pytest.raises(InputError, match="--processes: one of 2 is lost: it ended by itself"):
        work()


@pytest.mark.parametrize(("outcome", "line"), [(Outcome(2, "data: holds no 7"), "^data: holds no 7$"), (Outcome(-9, "x"), "lost: x")])
@pytest.mark.parametrize("seconds", [0, 0.5])  # before the first waits for it, and after
def test_what_another_refused_is_the_error(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, line: str, seconds: float) -> None:
    def run(*given: object) -> Outcome:  # it never joins
        time.sleep(seconds)
        return outcome

    monkeypatch.setattr(processes, "run_commands", run)
    with pytest.raises(InputError, match=line), together([], 2, TIMEOUT):
        pass


def test_an_error_of_the_first_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lives=True)
    monkeypatch.setattr(processes, "GRACE", 0.1)
    for error in (InputError("--eps: mine"), KeyboardInterrupt(), RuntimeError("of the network")):
        with pytest.raises(type(error)) as found, together([], 2, TIMEOUT):
            raise error
        assert found.value is error
