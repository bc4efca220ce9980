"""What an evaluation costs, of each attack and of the worst case alone: passes of the network an image, and seconds.

    python benchmarks/evaluation.py runs/mnist-alp --data-dir data --examples 300
    python benchmarks/evaluation.py runs/mnist-alp --data-dir data --attacks bim_76.5_2.55_40,pgd_76.5_2.55_40,fgsm_76.5

By default the attacks are the paper's eight, at the sizes of the recipe's first. Passes are counted at the network, with those that verify
what was found: they depend on neither the machine nor the batch size. ``strongest_first`` is the worst case alone again, the attacks in the
order of what each left. That all ways leave the same is checked. Every run's numbers join the file of ``--out``.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import logitpair as lp
from logitpair.attacks import Attack
from logitpair.attacks.base import QueryCounter
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import EvaluationResults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder of the data set, instead of the recipe's")
    parser.add_argument("--attacks", default="paper", help="as `logitpair evaluate` takes them")
    parser.add_argument("--examples", type=int, default=None, help="the first N test images only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/evaluation.json"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    data = {"data_dir": arguments.data_dir, "examples": arguments.examples}
    task = EvaluationTask.from_run(arguments.run, device=device, attacks=arguments.attacks, **data)
    whole, record = measured(task, task.attacks, worst_case_only=False)
    left = {name: attack.correct for name, attack in record.attacks.items()}
    in_turn, _ = measured(task, task.attacks, worst_case_only=True)
    ordered, _ = measured(task, {name: task.attacks[name] for name in sorted(left, key=left.__getitem__)}, worst_case_only=True)
    ways = {"each_attack": whole, "worst_case_only": in_turn, "strongest_first": ordered}
    if len({(way["correct"], way["top5"]) for way in ways.values()}) > 1:
        raise SystemExit(f"the ways differ: {ways}")
    found = {
        "run": f"{task.record.recipe}, scale {task.record.scale}, step {task.record.step}",
        "examples": record.examples,
        "left": left,
        "ways": ways,
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
    }
    everything = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    key = f"{task.record.recipe}, {record.examples} images, {arguments.attacks}"
    atomic_write(arguments.out, json.dumps(everything | {key: found}, indent=1) + "\n")
    for name, way in ways.items():
        passes = f"{way['gradients_per_image']:.1f} gradients and {way['forwards_per_image']:.1f} forwards an image"
        print(f"{key}, {name}: {passes}, {way['seconds']:.1f} s, {way['correct']} left")


def measured(task: EvaluationTask, attacks: Mapping[str, Attack], *, worst_case_only: bool) -> tuple[dict[str, Any], EvaluationResults]:
    """What one way costs and leaves, and its record."""
    model = QueryCounter(task.model)
    began = time.perf_counter()
    record = lp.evaluate(
        model, task.test, attacks=attacks, batch_size=task.batch_size, worst_case_only=worst_case_only, progress=False
    ).record
    found = {
        "gradients_per_image": round(model.gradients / record.examples, 2),
        "forwards_per_image": round(model.forwards / record.examples, 2),
        "seconds": round(time.perf_counter() - began, 2),
        "correct": record.white_box_union.correct,
        "top5": record.white_box_union.top5 if not record.white_box_union.top5_is_upper_bound else None,
    }
    return found, record


if __name__ == "__main__":
    main()
