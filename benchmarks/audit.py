"""What the audit leaves correct beside standard AutoAttack, on the same images and the same core.

    python benchmarks/audit.py runs/mnist-alp runs/mnist-clp --data-dir data --examples 1000

AutoAttack runs its four attacks one after another on what is still correct: APGD on cross-entropy, targeted APGD, targeted FAB and Square.
They are torchattacks' ports with the parameters of the reference implementation (github.com/fra31/auto-attack, "standard"): 100 steps where
the ports take 10, all other classes as targets, 5,000 queries whose schedule is not rescaled.
An image counts as broken when a fresh float32 forward on the returned image, checked to lie in the ball and the box, misclassifies it.
Time is that of the processor, so that what else runs on the machine hardly counts. What is done, of AutoAttack every batch, is written at
once, and the same command again goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
import torchattacks
from rich.progress import track
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks.base import QueryCounter
from logitpair.models.inference import compute_logits
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.runtime import environment
from logitpair.runtime.precision import full_precision
from logitpair.storage.atomic_files import atomic_write

TOOLS = ("audit", "autoattack_reference")
BATCH = {"cpu": 250, "cuda": 1000}  # images that AutoAttack takes at a time; the audit sees all of them at once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder of the data set, instead of the recipe's")
    parser.add_argument("--eps", type=float, default=0.3)
    parser.add_argument("--examples", type=int, default=1000, help="the first N test images")
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=TOOLS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/audit.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    found |= {
        "versions": environment.versions() | {"torchattacks": version("torchattacks")},
        "hardware": environment.hardware(device),
    }
    for run in arguments.runs:
        task = EvaluationTask.from_run(run, device=device, data_dir=arguments.data_dir, examples=arguments.examples)
        for tool in arguments.tools:
            key = f"{task.record.recipe}, {'/'.join(run.parts[-2:])}, step {task.record.step}, eps {arguments.eps:g}, {tool}"
            if tool == "audit":
                audit(key, task, lp.Linf(arguments.eps), found, arguments.out)
            else:
                attack(key, task.model, task.test, lp.Linf(arguments.eps), device, found, arguments.out)


def audit(key: str, task: EvaluationTask, threat: lp.Linf, found: dict, out: Path) -> None:
    """The whole audit with its checks, the recipe's attack being the reference attack."""
    if key in found:
        return
    cpu, wall = time.process_time(), time.perf_counter()
    of_recipe = next(iter(task.attacks.values()))
    audited = lp.audit(task.model, task.test, threat=threat, reference_attack=of_recipe.scaled(threat.eps / of_recipe.threat.eps))
    results = audited.results
    found[key] = {
        "still_correct": (audited.ledger["broken_in_round"] == -1).astype(int).tolist(),
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "accuracy": results["robust_accuracy"]["top1"],
        **{name: results[name] for name in ("verdict", "reason", "reference", "robust_accuracy", "rounds", "checks", "converged")},
        **{name: results[name] for name in ("gradient_evaluations_per_example", "forward_evaluations_per_example")},
        "failed": [finding["check"] for finding in results["findings"] if not finding["passed"]],
    }
    atomic_write(out, json.dumps(found) + "\n")
    print(f"{key}: {results['verdict']}, {results['reason']}; {found[key]['cpu_seconds']:.0f} s")


def attack(key: str, model: nn.Module, test: lp.data.Data, threat: lp.Linf, device: torch.device, found: dict, out: Path) -> None:
    """AutoAttack batch by batch, adding what is found to ``found[key]`` and writing ``found`` each time."""
    entry = found.setdefault(key, {"still_correct": [], "cpu_seconds": 0.0, "wall_seconds": 0.0, "gradients": 0, "forwards": 0})
    size = BATCH[device.type]
    for number, (x, y) in enumerate(track(list(lp.data.batches(test, size, device)), description=key)):
        if number * size < len(entry["still_correct"]):
            continue
        counted = QueryCounter(model)
        cpu, wall = time.process_time(), time.perf_counter()
        with full_precision(device):
            x_adv = autoattack(counted, x, y, threat)
        entry["cpu_seconds"] += time.process_time() - cpu
        entry["wall_seconds"] += time.perf_counter() - wall
        entry["gradients"] += counted.gradients
        entry["forwards"] += counted.forwards
        with torch.no_grad():
            x_adv = torch.where(threat.contains(x_adv, x)[:, None, None, None], x_adv, x)
            right = (compute_logits(model, x).argmax(1) == y) & (compute_logits(model, x_adv).argmax(1) == y)
        entry["still_correct"] += right.int().tolist()
        entry["accuracy"] = sum(entry["still_correct"]) / len(entry["still_correct"])
        atomic_write(out, json.dumps(found) + "\n")
    print(f"{key}: {100 * entry['accuracy']:.2f}% of {len(entry['still_correct']):,}, {entry['cpu_seconds']:.0f} s")


def autoattack(model: nn.Module, x: Tensor, y: Tensor, threat: lp.Linf) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.no_grad():
            classes = compute_logits(model, x[:1]).shape[1]
        shared = {"eps": threat.eps, "norm": "Linf", "seed": 0, "n_restarts": 1}
        attacks = [
            torchattacks.APGD(model, steps=100, loss="ce", **shared),
            torchattacks.APGDT(model, steps=100, n_classes=min(classes, 10), **shared),
            torchattacks.FAB(model, steps=100, multi_targeted=True, n_classes=min(classes, 10), **shared),
            torchattacks.Square(model, n_queries=5000, resc_schedule=False, **shared),
        ]
        return torchattacks.MultiAttack(attacks)(x, y)


if __name__ == "__main__":
    main()
