"""What each defense costs: time of a training step relative to plain training, interleaved in one run.

    python benchmarks/defenses.py --out results/benchmarks/defenses.json

A step is forward, backward and update of LeNet with Adam, in the precision that ``train`` takes here (``auto``). Every iterative attack
has 5 steps, so that the defenses can be compared; with the paper's 40 on MNIST their cost grows almost in proportion.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import PGD
from logitpair.objectives import Objective
from logitpair.objectives.virtual_adversarial_training import linf_ascent
from logitpair.runtime import environment, precision

THREAT = lp.Linf(0.3)
ATTACK = PGD(THREAT, step_size=0.1, steps=5)
STEP = PGD(THREAT, step_size=0.3, steps=1, random_start=False)


def defenses(source: nn.Module) -> dict[str, Objective]:
    """Each defense in the L-infinity ball of MNIST, its other settings the defaults."""
    objectives = lp.objectives
    return {
        "plain": objectives.StandardTraining(),
        "label smoothing": objectives.StandardTraining(label_smoothing=0.1),
        "mixup": objectives.Mixup(),
        "Gaussian noise": objectives.GaussianNoise(),
        "clean logit pairing": objectives.CleanLogitPairing(),
        "logit squeezing": objectives.LogitSqueezing(),
        "one-step (Step-LL)": objectives.OneStepAdversarialTraining(THREAT),
        "ensemble, one step": objectives.EnsembleAdversarialTraining(STEP, sources=(source,)),
        "VAT": objectives.VirtualAdversarialTraining(eps=THREAT.eps, ascent=linf_ascent),
        "PGD training": objectives.AdversarialTraining(ATTACK, clean_weight=0),
        "M-PGD": objectives.AdversarialTraining(ATTACK),
        "ALP": objectives.AdversarialLogitPairing(ATTACK),
        "feature pairing": objectives.FeaturePairing(ATTACK, layers=("hidden",)),
        "TRADES": objectives.TRADES(ATTACK),
        "MART": objectives.MART(ATTACK),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--repeats", type=int, default=10, help="rounds; each takes one step of every defense")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/defenses.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)

    torch.manual_seed(0)
    model, source = (lp.models.LeNet().to(device, memory_format=torch.channels_last) for _ in range(2))  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=True)  # every round meets the same weights
    x = torch.rand(arguments.batch, 1, 28, 28, device=device)
    y = torch.randint(0, 10, (arguments.batch,), device=device)
    contenders = defenses(source.eval())
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in track(range(arguments.repeats + 1), description="rounds"):
        for name, objective in contenders.items():
            seconds = step(objective, model, optimizer, x, y, repeat)
            if repeat:  # the first round warms up
                times[name].append(seconds)

    median = {name: statistics.median(values) for name, values in times.items()}
    results = {
        "benchmark": "defenses",
        "settings": {"batch": arguments.batch, "repeats": arguments.repeats, "network": "LeNet", "attack_steps": ATTACK.steps},
        "precision": str(precision.resolve("auto", device)).removeprefix("torch."),
        "seconds": {name: {"median": median[name], "best": min(values), "all": values} for name, values in times.items()},
        "times_plain": {name: seconds / median["plain"] for name, seconds in median.items()},
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    for name, ratio in results["times_plain"].items():
        print(f"{name:22} {1000 * median[name]:8.1f} ms a step   {ratio:5.2f} times plain")
    print(f"Wrote {arguments.out}")


def step(objective: Objective, model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, seed: int) -> float:
    """Seconds of one training step."""
    generator = torch.Generator(x.device).manual_seed(seed)
    model.train()
    synchronize(x)
    began = time.perf_counter()
    with precision.autocast(precision.resolve("auto", x.device), x.device):
        total = objective(model, x, y, generator=generator).total
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    synchronize(x)
    return time.perf_counter() - began


def synchronize(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


if __name__ == "__main__":
    main()
