"""Accuracy of a run under PGD, as logitpair, foolbox and torchattacks measure it: the same images, sizes and steps.

    python benchmarks/agreement.py runs/mnist-alp-cpu --data-dir data --out results/benchmarks/agreement.json

All three take one random start and score the last iterate, in float32; an image that is misclassified unperturbed counts as broken.
``any_iterate`` is PGD as ``logitpair evaluate`` uses it, which counts an image as broken at the first iterate that is, and is stricter.
What is measured is written after every tool; the same command again goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import foolbox
import torch
import torchattacks
from rich.progress import track
from torch import Tensor

import logitpair as lp
from logitpair.evaluation.confidence import accuracy
from logitpair.rng import ExampleStreams
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.runtime import environment
from logitpair.runtime.precision import full_precision
from logitpair.storage.atomic_files import atomic_write

Attacker = Callable[[Tensor, Tensor, int], Tensor]  # images, labels and the position of the first: adversarial images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder of the data set, instead of the recipe's")
    parser.add_argument("--eps", type=float, default=0.3)
    parser.add_argument("--step-size", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--examples", type=int, default=None, help="the first N test images only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/agreement.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    task = EvaluationTask.from_run(arguments.run, device=device, data_dir=arguments.data_dir, examples=arguments.examples)
    settings = {name: getattr(arguments, name) for name in ("eps", "step_size", "steps", "examples")} | {"step": task.record.step}
    found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    if found.get("settings") != settings:
        found = {"settings": settings, "accuracy": {}, "seconds": {}}
    found |= {
        "recipe": task.record.recipe,
        "versions": environment.versions() | {name: version(name) for name in ("foolbox", "torchattacks")},
        "hardware": environment.hardware(device),
    }
    for name, attacker in build(task.model, arguments, device).items():
        if name in found["accuracy"]:
            continue
        torch.manual_seed(0)  # the peers draw from the global generator
        began, right, start = time.perf_counter(), [], 0
        with full_precision(device):
            for x, y in track(list(lp.data.batches(task.test, 256, device)), description=name):
                x_adv = attacker(x, y, start)
                start += len(x)
                with torch.no_grad():
                    right.append((task.model(x).argmax(1) == y) & (task.model(x_adv).argmax(1) == y))
        found["accuracy"][name] = accuracy(torch.cat(right).cpu().numpy())
        found["seconds"][name] = round(time.perf_counter() - began, 1)
        atomic_write(arguments.out, json.dumps(found, indent=2) + "\n")
        print(f"{name}: {100 * found['accuracy'][name]['top1']:.2f}%")


def build(model: torch.nn.Module, arguments: argparse.Namespace, device: torch.device) -> dict[str, Attacker]:
    """The attack of each tool."""
    ours = lp.attacks.PGD(lp.Linf(arguments.eps), step_size=arguments.step_size, steps=arguments.steps)
    of_foolbox = foolbox.attacks.LinfPGD(abs_stepsize=arguments.step_size, steps=arguments.steps, random_start=True)
    in_foolbox = foolbox.PyTorchModel(model, bounds=(0, 1), device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of_torchattacks = torchattacks.PGD(model, eps=arguments.eps, alpha=arguments.step_size, steps=arguments.steps, random_start=True)

    def by_ours(attack: lp.attacks.PGD) -> Attacker:
        return lambda x, y, start: attack(model, x, y, generator=ExampleStreams(0, torch.arange(start, start + len(x))))

    return {
        "logitpair": by_ours(ours.without_early_stop()),
        "torchattacks": lambda x, y, start: of_torchattacks(x, y),
        "foolbox": lambda x, y, start: of_foolbox(in_foolbox, x, y, epsilons=arguments.eps)[1],
        "any_iterate": by_ours(ours),
    }


if __name__ == "__main__":
    main()
