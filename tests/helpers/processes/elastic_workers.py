"""Small trainings by workers that may be killed, and what each of them wrote down of every step."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from many_processes import FORKED, Double, config
from torch import Tensor, nn

from logitpair.config.run_config import ElasticConfig
from logitpair.models import SmallConvNet
from logitpair.training.train import Interrupted, train


def normalized() -> nn.Module:
    """A network with BatchNorm, in float64."""
    return nn.Sequential(Double(), nn.BatchNorm2d(1), SmallConvNet(width=4)).double()


CHANGES: dict[str, Any] = {"model": normalized, "epochs": 6, "checkpoint_every": 5, "ema": 0.9}
"""24 steps."""


def digest(state: Any) -> str:
    """A hash of parameters, buffers, moving average and the optimizer's memory."""
    hashed = hashlib.sha256()
    held = [value for slots in state.optimizer.state_dict()["state"].values() for value in slots.values() if isinstance(value, Tensor)]
    for tensor in [*state.model.state_dict().values(), *state.ema.state_dict().values(), *held]:
        hashed.update(tensor.contiguous().numpy().tobytes())
    return hashed.hexdigest()


def record_steps(log: Path, wait: Callable[[int], None] = lambda step: None) -> None:
    """Let this process's trainings append to ``log``, after each commit, the step, its hash and the time; ``wait`` comes before a step."""
    module = importlib.import_module("logitpair.training.train")
    take = module.train_step

    def recorded(settings: Any, state: Any, *rest: Any) -> Any:
        wait(state.step)
        measures = take(settings, state, *rest)
        with log.open("a") as file:
            file.write(f"{state.step} {digest(state)} {time.time()}\n" if measures is not None else "")
        return measures

    module.train_step = recorded


def pause(gate: Path, at: int, seconds: float, step: int) -> None:
    """Wait at a step until the file ``gate`` is there, and go slowly from there on."""
    while step >= at and not gate.exists():
        time.sleep(0.01)
    if step >= at:
        time.sleep(seconds)


def work(run: Path, log: Path, address: str, wait: tuple[Path, int, float], ready: Path | None) -> None:
    """Be a worker from beginning to end."""
    torch.set_num_threads(1)
    record_steps(log, partial(pause, *wait))
    run.mkdir(parents=True, exist_ok=True)
    elastic = ElasticConfig(workers=2, lighthouse=address, timeout=20)
    if ready is not None:
        ready.touch()
    with contextlib.suppress(Interrupted):
        train(config(run, **CHANGES, elastic=elastic), run, device=torch.device("cpu"), quiet=True)


def start(*arguments: Any) -> Any:
    """``work`` in a process of its own."""
    process = FORKED.Process(target=work, args=arguments)
    process.start()
    return process


def steps(log: Path) -> dict[int, tuple[str, float]]:
    """Hash and time by step."""
    lines = [line.split() for line in log.read_text().splitlines() if line.count(" ") == 2] if log.exists() else []
    return {int(step): (digest, float(seconds)) for step, digest, seconds in lines}


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait, but not for ever."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def lighthouse(workers: int) -> Iterator[str]:
    """The address of one that gives up a silent worker after two seconds."""
    os.environ["RUST_LOG"] = "error"  # it would write many lines a step
    from torchft.coordination import LighthouseServer

    server = LighthouseServer(bind="127.0.0.1:0", min_replicas=workers, join_timeout_ms=30000, quorum_tick_ms=20, heartbeat_timeout_ms=2000)
    try:
        yield "http://127.0.0.1:" + server.address().rsplit(":", 1)[1]
    finally:
        server.shutdown()
