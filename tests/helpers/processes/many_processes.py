"""Small trainings on several processes, which are forked from one that has imported the package instead of started one by one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import logitpair as lp
from logitpair.cli.main import main
from logitpair.config.run_config import EvaluationSettings, RunConfig, Validation
from logitpair.data import ImageData
from logitpair.optim import Exponential
from logitpair.runtime import distributed
from logitpair.training.train import Interrupted, train

EXAMPLES, BATCH = 52, 16  # 4 steps an epoch, the last of 4 images


class Recorded(Dataset[tuple[Tensor, int]]):
    """The first digits; writes down, for each process, which of them it gave.

    With ``stop_at`` it asks process 0 to stop at one of them (SIGTERM), or kills every process there (SIGKILL).
    """

    def __init__(self, folder: Path, stop_at: int | None, by: signal.Signals) -> None:
        self.folder, self.stop_at, self.by, self.digits, self.given = folder, stop_at, by, lp.data.Digits().train(), 0

    def __len__(self) -> int:
        return EXAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        rank = os.environ.get("RANK", "0")
        with (self.folder / f"rank-{rank}.txt").open("a") as file:
            file.write(f"{index}\n")
        self.given += 1
        if self.given == self.stop_at and (rank == "0" or self.by == signal.SIGKILL):
            os.kill(os.getpid(), self.by)
        image, label = self.digits[index]
        return image.double() / 255, int(label)  # logits are float64 for float64 images alone


class Double(nn.Module):
    """A first layer for networks in float64, where only rounding at 1e-16 is left of what order sums are in."""

    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def precise() -> nn.Module:
    """A network without BatchNorm, in float64."""
    return nn.Sequential(Double(), lp.models.SmallConvNet(width=4)).double()


@dataclass(frozen=True)
class RecordedDigits(ImageData):
    folder: Path
    stop_at: int | None = None
    by: signal.Signals = signal.SIGTERM
    name = "digits"
    classes = tuple("0123456789")

    def train(self) -> Dataset[Any]:
        return Recorded(self.folder, self.stop_at, self.by)

    def validation(self) -> Dataset[Any]:
        return lp.data.Digits().validation()

    def test(self) -> Dataset[Any]:
        return lp.data.Digits().test()


def config(folder: Path, stop_at: int | None = None, **changes: Any) -> RunConfig:
    """Two epochs of adversarial logit pairing with random starts, on batches whose last is smaller."""
    attack = lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=2)
    settings = RunConfig(
        data=RecordedDigits(folder, stop_at),
        model=precise,
        objective=lp.objectives.AdversarialLogitPairing(attack, label_smoothing=0.1),
        optimizer=partial(torch.optim.SGD, lr=0.2, momentum=0.9),
        schedule=Exponential(),
        validation=Validation(attack=attack, examples=13),
        evaluation=EvaluationSettings(attacks={"pgd": attack}),
        epochs=2,
        batch_size=BATCH,
        precision="float32",
        checkpoint_every=1,
    )
    return replace(settings, **changes)


def learn(run: Path, stop_at: int | None, changes: dict[str, Any]) -> None:
    """Train as one process among those that the environment tells of."""
    run.mkdir(parents=True, exist_ok=True)
    try:
        train(config(run, stop_at, **changes), run, device=torch.device("cpu"), quiet=True)
    except Interrupted:
        assert stop_at is not None


def blocks() -> nn.Module:
    """A network of one block with BatchNorm, and a layer."""
    block = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(Double(), nn.Sequential(block), nn.Flatten(), nn.Linear(144, 10)).double()


def command(arguments: Sequence[str]) -> None:
    """What ``logitpair`` does with these arguments, which must succeed."""
    sys.path.insert(0, str(Path(__file__).parent))
    assert main(arguments) == 0


def peer(environment: dict[str, str], lives: bool) -> None:
    """Another process of a command, which says what it was given and waits; or which ends in the middle of the work."""
    os.environ |= environment
    with distributed.join(torch.device("cpu"), timedelta(seconds=60)) as world:
        distributed.barrier(world)
        if not lives:
            os._exit(3)
        time.sleep(60)


FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["logitpair.cli.main", "logitpair.training.train", "sklearn.datasets", "pandas", "torch._dynamo"])


def together(work: Callable[..., None], processes: int, *arguments: Any) -> None:
    """Call ``work(*arguments)`` in so many processes, as ``torchrun`` would start them; each must succeed."""
    codes = together_codes(work, processes, *arguments)
    assert codes == [0] * processes, codes


def together_codes(work: Callable[..., None], processes: int, *arguments: Any) -> Sequence[int | None]:
    """Their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [FORKED.Process(target=_place, args=(rank, processes, port, work, arguments)) for rank in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join(100)
    return [process.exitcode for process in started]


def _place(rank: int, size: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    work(*arguments)
