"""Accuracy of a run under every attack of the paper's suite, FGSM, BIM and PGD, at several batch sizes in float32.

    python benchmarks/batch_sizes.py runs/mnist-alp --data-dir data --examples 1000

Random numbers belong to the example, so that accuracies may differ by the rounding of the network's kernels alone. What is measured is
written after every batch size.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

import logitpair as lp
from logitpair.attacks import bim, fgsm
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder of the data set, instead of the recipe's")
    parser.add_argument("--eps", type=float, default=0.3)
    parser.add_argument("--step-size", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--examples", type=int, default=1000, help="the first N test images")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[256, 7, 1])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/batch_sizes.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    task = EvaluationTask.from_run(arguments.run, device=device, data_dir=arguments.data_dir, examples=arguments.examples)
    threat, sizes = lp.Linf(arguments.eps), {"step_size": arguments.step_size, "steps": arguments.steps}
    attacks = {
        **lp.attacks.paper_suite(eps=arguments.eps, **sizes),
        "fgsm": fgsm(threat),
        "bim": bim(threat, **sizes),
        "pgd": lp.attacks.PGD(threat, **sizes),
    }
    found = {
        "settings": {name: getattr(arguments, name) for name in ("eps", "step_size", "steps", "examples")} | {"step": task.record.step},
        "recipe": task.record.recipe,
        "correct": {},
        "seconds": {},
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
    }
    for batch_size in arguments.batch_sizes:
        began = time.perf_counter()
        results = lp.evaluate(task.model, task.test, attacks=attacks, batch_size=batch_size).results
        correct = {name: entry["correct"] for name, entry in results["attacks"].items()}
        found["correct"][str(batch_size)] = {"clean": results["clean"]["correct"]} | correct
        found["seconds"][str(batch_size)] = round(time.perf_counter() - began, 1)
        columns = zip(*(entry.values() for entry in found["correct"].values()), strict=True)
        found["largest_difference"] = max(max(column) - min(column) for column in columns) / results["examples"]
        atomic_write(arguments.out, json.dumps(found, indent=2) + "\n")
        print(f"batch size {batch_size}: {found['correct'][str(batch_size)]}")
    print(f"largest difference: {100 * found['largest_difference']:.2f} points")


if __name__ == "__main__":
    main()
