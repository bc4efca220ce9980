"""How long PGD takes on this machine: ours, other libraries' and the network alone, one after another in each round."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from logitpair.benchmark.contenders import ALONE, EPS, PEERS, STEP_SIZE, Batch, Run, contenders, installed
from logitpair.errors import first_line
from logitpair.models import LeNet, Timm
from logitpair.runtime import clock, environment
from logitpair.runtime.progress import tracked

CLASSES = 10
COLUMNS = ("network", "steps", "images", "what", "median s", "lowest - highest", "images/s", "of the network alone")


@dataclass(frozen=True)
class Network:
    """An untrained network, on images of its size; nobody stops early, so that training would change no time."""

    name: str
    shape: tuple[int, int, int]
    batch_size: int

    def build(self, device: torch.device) -> nn.Module:
        """The network on the device, in eval mode."""
        model = LeNet(CLASSES) if self.name == "LeNet" else Timm(self.name.lower().replace("-", ""), CLASSES)
        return model.to(device).eval()


NETWORKS = {
    "lenet": Network("LeNet", (1, 28, 28), 256),
    "resnet18": Network("ResNet-18", (3, 64, 64), 64),
    "resnet50": Network("ResNet-50", (3, 224, 224), 64),
}
"""By what ``--network`` calls them; ResNets are timm's."""


@dataclass
class Case:
    """One network under so many steps, and the seconds of each round by what was run."""

    network: str
    steps: int
    batch_size: int
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def rows(self) -> list[list[str]]:
        """A line for each, the fastest first, as ``COLUMNS``."""
        median = {name: statistics.median(times) for name, times in self.seconds.items()}
        return [
            [
                *(self.network, str(self.steps), str(self.batch_size), name, f"{median[name]:.4g}"),
                f"{min(self.seconds[name]):.4g} - {max(self.seconds[name]):.4g}",
                f"{self.batch_size / median[name]:,.0f}",
                f"{median[name] / median[ALONE]:.2f}",
            ]
            for name in sorted(median, key=median.__getitem__)
        ]


@dataclass
class AttackSpeed:
    """What was measured, and what of it is written down."""

    cases: list[Case]
    absent: list[str]  # libraries that cannot be imported
    failed: dict[str, str]  # libraries that cannot attack here, and why
    record: dict[str, Any]


def measure_attacks(
    networks: Sequence[Network], steps: Sequence[int], *, batch_size: int | None, repeats: int, device: torch.device
) -> AttackSpeed:
    """Time every attack on every network.

    Args:
        networks: what is attacked.
        steps: of PGD, each a case of its own.
        batch_size: images attacked together, instead of each network's own.
        repeats: rounds, besides one that warms up.
        device: to run on.
    """
    cases, libraries, failed = list[Case](), installed(), dict[str, str]()
    for network in networks:
        images, generator = batch_size or network.batch_size, torch.Generator().manual_seed(0)
        model = network.build(device)
        x = torch.rand((images, *network.shape), generator=generator).to(device)
        y = torch.arange(images, device=device) % CLASSES
        for number in steps:
            runs = contenders(Batch(model, x, y, number), libraries)
            _drop_failing(runs, libraries, failed)
            cases.append(Case(network.name, number, images, _rounds(runs, repeats, device, f"{network.name}, {number} steps")))
    absent = [name for name in PEERS if name not in libraries]
    record = {
        "benchmark": "attack",
        "settings": {"eps": EPS, "step_size": STEP_SIZE, "repeats": repeats, "precision": "float32"},
        "cases": [vars(case) for case in cases],
        "absent": absent,
        "failed": failed,
        "versions": environment.versions() | {name: version(name) for name in libraries},
        "hardware": environment.hardware(device),
    }
    return AttackSpeed(cases, absent, failed, record)


def _drop_failing(runs: dict[str, Run], libraries: Mapping[str, Any], failed: dict[str, str]) -> None:
    """Run every library's attack once, and go on without those that raise, as some do on a GPU."""
    for name in libraries:
        try:
            runs[name]()
        except Exception as error:  # another's, which raises whatever it comes to
            failed[name] = first_line(error)
            del runs[name]


def _rounds(runs: Mapping[str, Run], repeats: int, device: torch.device, what: str) -> dict[str, list[float]]:
    """Seconds of each round by name; what disturbs the machine for a while meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in tracked(range(repeats + 1), what):
        for name, run in runs.items():
            began = clock.now(device)
            run()
            if number:
                times[name].append(clock.now(device) - began)
    return times
