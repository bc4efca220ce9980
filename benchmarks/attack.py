"""PGD-40 on LeNet beside foolbox, torchattacks, ART and the bare network, interleaved in one run.

    python benchmarks/attack.py --out results/benchmarks/attack.json

Every contender runs all its steps (no early stopping), from a random start, on the same images and weights. ``bare`` is the least
that any such attack must compute: as many forward passes and input gradients, and nothing else. The peers run as their users run
them: the network in float32, in PyTorch's default memory format. Ours runs in channels_last, once in float32, as ``evaluate``
does, and once in the precision that ``train`` takes here (``auto``: bfloat16 where the hardware has it, otherwise float32 again); the
bare network is measured in the same ways.

The network is an untrained LeNet unless ``--run`` names a trained one; the work is the same, since nobody stops early.
``early_stop`` is PGD as ``evaluate`` uses it, dropping broken examples; it depends on how many there are, and is reported apart.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

import logitpair as lp
from logitpair.runtime import environment, precision

EPS, STEP = 0.3, 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="images attacked together")
    parser.add_argument("--steps", type=int, default=40, help="gradient steps")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; each runs every contender once")
    parser.add_argument("--run", type=Path, default=None, help="run directory of a trained LeNet")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/attack.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)

    torch.manual_seed(0)
    model = (lp.load(arguments.run) if arguments.run else lp.models.LeNet()).to(device, memory_format=torch.contiguous_format).eval()
    x = torch.rand(arguments.batch, 1, 28, 28, device=device)
    y = torch.randint(0, 10, (arguments.batch,), device=device)
    contenders = build(model, x, y, arguments.steps, device)

    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in track(range(arguments.repeats + 1), description="rounds"):
        for name, run in contenders.items():
            seconds = measure(run, device)
            if repeat:  # the first round warms up
                times[name].append(seconds)

    best = {name: min(values) for name, values in times.items()}
    peers = {name: seconds for name, seconds in best.items() if name in PACKAGES}
    fastest = min(peers, key=peers.__getitem__)
    dtype = precision.resolve("auto", device)
    results = {
        "benchmark": "attack",
        "settings": {"batch": arguments.batch, "steps": arguments.steps, "repeats": arguments.repeats, "eps": EPS, "step_size": STEP},
        "network": str(arguments.run) if arguments.run else "LeNet, untrained",
        "precision": str(dtype).removeprefix("torch."),
        "seconds": {name: {"best": min(v), "median": statistics.median(v), "all": v} for name, v in times.items()},
        "fastest_peer": fastest,
        "times_the_fastest_peer": peers[fastest] / best["logitpair"],
        "times_the_fastest_peer_in_float32": peers[fastest] / best["logitpair_float32"],
        "of_the_bare_network_same_precision": best["logitpair"] / best["bare"],
        "of_the_bare_network_float32": best["logitpair_float32"] / best["bare_float32"],
        "versions": environment.versions() | {name: version(package) for name, package in PACKAGES.items()},
        "hardware": environment.hardware(device),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    for name, seconds in sorted(best.items(), key=lambda item: item[1]):
        print(f"{name:20} {seconds:8.3f} s   {arguments.batch / seconds:8.0f} images/s")
    print(
        f"{results['times_the_fastest_peer']:.2f} times as fast as {fastest}; "
        f"{results['of_the_bare_network_same_precision']:.2f} of the bare network's time. Wrote {arguments.out}"
    )


PACKAGES = {"foolbox": "foolbox", "torchattacks": "torchattacks", "art": "adversarial-robustness-toolbox"}


def build(model: nn.Module, x: Tensor, y: Tensor, steps: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """What is timed, by name; each call attacks the whole batch once."""
    import foolbox
    import torchattacks
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    dtype = precision.resolve("auto", device)
    fast = copy.deepcopy(model).to(memory_format=torch.channels_last)
    attack = lp.attacks.PGD(lp.Linf(EPS), step_size=STEP, steps=steps)
    generator = torch.Generator(device).manual_seed(0)

    def ours(attack: lp.attacks.PGD, arithmetic: torch.dtype = dtype) -> Tensor:
        with precision.autocast(arithmetic, device):
            return attack(fast, x, y, generator=generator)

    def bare(network: nn.Module, arithmetic: torch.dtype) -> None:
        frozen = [parameter.requires_grad_(False) for parameter in network.parameters()]
        with precision.autocast(arithmetic, device):
            for _ in range(steps):
                leaf = x.detach().requires_grad_()
                torch.autograd.grad(network(leaf).float().logsumexp(1).sum(), leaf)
        for parameter in frozen:
            parameter.requires_grad_(True)

    of_foolbox = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=steps, random_start=True)
    in_foolbox = foolbox.PyTorchModel(model, bounds=(0, 1), device=device)
    of_torchattacks = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=steps, random_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = "gpu" if device.type == "cuda" else "cpu"
        in_art = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1), device_type=kind)
    of_art = ProjectedGradientDescent(
        in_art, norm=np.inf, eps=EPS, eps_step=STEP, max_iter=steps, num_random_init=1, batch_size=len(x), verbose=False
    )
    x_numpy, y_numpy = x.cpu().numpy(), np.eye(10, dtype=np.float32)[y.cpu().numpy()]
    return {
        "bare": lambda: bare(fast, dtype),
        "logitpair": lambda: ours(attack.without_early_stop()),
        "torchattacks": lambda: of_torchattacks(x, y),
        "bare_float32": lambda: bare(fast, torch.float32),
        "bare_default_layout": lambda: bare(model, torch.float32),
        "logitpair_float32": lambda: ours(attack.without_early_stop(), torch.float32),
        "foolbox": lambda: of_foolbox(in_foolbox, x, y, epsilons=[EPS]),
        "art": lambda: of_art.generate(x_numpy, y_numpy),
        "early_stop": lambda: ours(attack),
    }


def measure(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
