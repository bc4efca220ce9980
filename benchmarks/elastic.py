"""Three workers of which one after another is killed at a random step: how soon the others go on, and whether all stay equal.

    python benchmarks/elastic.py --out results/benchmarks/elastic.json

Two workers share each step of digits-alp, a third is on standby; the network has BatchNorm. A worker drawn at random is killed by SIGKILL
after a random number of steps, the time until each of the others has committed a step begun after the kill is taken, and the killed one is
started again. All write down a hash of parameters, buffers and the optimizer's memory after every step they commit.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.metadata
import itertools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from logitpair.cli.main import main as logitpair
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write

WORKERS, STANDBY = 2, 1
PATIENCE = 120.0
"""Seconds after which this script no longer waits for a worker."""


class Network(nn.Sequential):
    """A small one with BatchNorm, for the digits."""

    def __init__(self, classes: int = 10) -> None:
        block = (nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU())
        super().__init__(*block, nn.Flatten(), nn.Linear(32 * 36, classes))


class Worker:
    """A ``logitpair train`` that writes down its steps; ``log`` belongs to one life of it."""

    def __init__(self, folder: Path, number: int, address: str) -> None:
        self.folder, self.number, self.address, self.lives = folder, number, address, 0
        self.start()

    def start(self) -> None:
        self.lives += 1
        self.log = self.folder / f"worker-{self.number}-life-{self.lives}.txt"
        settings = ["--model", "elastic.Network", "--epochs", "100000", "--schedule", "logitpair.optim.Constant", "--device", "cpu"]
        settings += ["--elastic.workers", str(WORKERS), "--elastic.lighthouse", self.address, "--checkpoint_every", "20"]
        command = [sys.executable, __file__, "--log", str(self.log), "train", "digits-alp", *settings, "--out", str(self.folder / "run")]
        with (self.folder / f"worker-{self.number}.out").open("a") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=Path(__file__).parent)  # noqa: S603

    def steps(self) -> dict[int, tuple[str, float]]:
        """Hash and time by step, in this life."""
        return read(self.log)


def read(log: Path) -> dict[int, tuple[str, float]]:
    """The whole lines of a log."""
    lines = [line.split() for line in log.read_text().splitlines() if line.count(" ") == 2] if log.exists() else []
    return {int(step): (digest, float(seconds)) for step, digest, seconds in lines}


def main() -> None:
    if sys.argv[1:2] == ["--log"]:
        record_steps(Path(sys.argv[2]))
        sys.exit(logitpair(sys.argv[3:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--heartbeat", type=int, default=2000, help="milliseconds of silence after which a worker counts as lost")
    parser.add_argument("--seed", type=int, default=0, help="of who is killed and when")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/elastic.json"))
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lighthouse, address = start_lighthouse(arguments.heartbeat)
        workers = [Worker(folder, number, address) for number in range(WORKERS + STANDBY)]
        try:
            kills = [kill_one(workers, draw) for _ in range(arguments.kills)]
        finally:
            for worker in workers:
                worker.process.send_signal(signal.SIGTERM)
            for worker in workers:
                worker.process.wait(PATIENCE)
            lighthouse.terminate()
        lives = [read(log) for log in sorted(folder.glob("worker-*.txt"))]
    hashes = {step: {life[step][0] for life in lives if step in life} for step in sorted(set().union(*lives))}
    times = sorted(min(life[step][1] for life in lives if step in life) for step in hashes)
    waits = [seconds for kill in kills for seconds in kill["seconds_until_survivors_commit"]]
    found = {
        "settings": {"workers": WORKERS, "standby": STANDBY, "heartbeat_timeout_ms": arguments.heartbeat, "seed": arguments.seed},
        "kills": kills,
        "seconds_until_survivors_commit": {"median": round(statistics.median(waits), 2), "most": max(waits)},
        "seconds_a_step": round(statistics.median(after - before for before, after in itertools.pairwise(times)), 3),
        "steps": len(hashes),
        "steps_that_several_committed": sum(sum(step in life for life in lives) > 1 for step in hashes),
        "steps_after_which_workers_differed": sum(len(digests) > 1 for digests in hashes.values()),
        "exit_codes_after_sigterm": [worker.process.returncode for worker in workers],
        "versions": environment.versions() | {"torchft": importlib.metadata.version("torchft")},
        "hardware": environment.hardware(torch.device("cpu")) | {"cores": len(os.sched_getaffinity(0))},
    }
    atomic_write(arguments.out, json.dumps(found, indent=2) + "\n")
    print(json.dumps({key: value for key, value in found.items() if key != "kills"}, indent=2))


def kill_one(workers: list[Worker], draw: random.Random) -> dict[str, Any]:
    """Kill a worker, see the others go on, start it again, and see it come back."""
    begun = {worker: len(worker.steps()) for worker in workers}
    more = draw.randint(3, 20)
    until(lambda: all(len(worker.steps()) >= begun[worker] + more for worker in workers))
    time.sleep(draw.random() * 0.2)  # at any point of a step
    killed_worker = draw.choice(workers)
    killed_worker.process.kill()
    killed = time.time()
    killed_worker.process.wait()
    survivors = [worker for worker in workers if worker is not killed_worker]
    reached = max(max(worker.steps()) for worker in workers)
    # the step after `reached` may have been under way
    until(lambda: all(max(worker.steps()) >= reached + 2 for worker in survivors))
    waits = [min(at for step, (_, at) in worker.steps().items() if step >= reached + 2) - killed for worker in survivors]
    killed_worker.start()
    until(lambda: len(killed_worker.steps()) >= 2)
    entry = {
        "worker": killed_worker.number,
        "after_step": reached,
        "seconds_until_survivors_commit": [round(seconds, 2) for seconds in waits],
        "came_back_after_step": min(killed_worker.steps()),
        "seconds_until_back": round(min(at for _, at in killed_worker.steps().values()) - killed, 2),
    }
    print(entry, flush=True)
    return entry


def start_lighthouse(heartbeat: int) -> tuple[subprocess.Popen[bytes], str]:
    """torchft's server at a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["torchft_lighthouse", "--min_replicas", str(WORKERS), "--heartbeat_timeout_ms", str(heartbeat)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = os.environ | {"RUST_LOG": "error", "PATH": path}
    process = subprocess.Popen([*command, "--bind", f"127.0.0.1:{port}"], env=environ)  # noqa: S603
    return process, f"http://127.0.0.1:{port}"


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, but not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a worker did not go on")
        time.sleep(0.01)


def record_steps(log: Path) -> None:
    """Let the trainings of this process append to ``log``, after each commit, the step, a hash of the state and the time."""
    module = importlib.import_module("logitpair.training.train")
    take = module.train_step

    def recorded(config: Any, state: Any, *rest: Any) -> Any:
        measures = take(config, state, *rest)
        if measures is not None:
            with log.open("a") as file:
                file.write(f"{state.step} {digest(state)} {time.time()}\n")
        return measures

    module.train_step = recorded


def digest(state: Any) -> str:
    """A hash of parameters, buffers and the optimizer's memory."""
    hashed = hashlib.sha256()
    memory = [value for slots in state.optimizer.state_dict()["state"].values() for value in slots.values() if isinstance(value, Tensor)]
    for tensor in [*state.model.state_dict().values(), *memory]:
        hashed.update(tensor.contiguous().numpy().tobytes())
    return hashed.hexdigest()


if __name__ == "__main__":
    main()
