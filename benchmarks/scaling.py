"""How the cost of PGD grows with steps, images and processes, and its memory with steps: a record and a figure.

    python benchmarks/scaling.py runs/mnist-alp --data-dir data/mnist

Seconds are of one call on the run's network, in which every image takes every step, on one thread; each round takes each point once, and
medians count. Seconds of processes are of ``logitpair evaluate --processes N``, one thread each, less those of the same command for a
batch a process, which take in its start, and as many more as those images would have taken. Memory is the peak that a call adds to what is
resident, each in a process of its own (Linux tells
it in /proc). The numbers go to ``--out``, from which ``--draw`` alone draws again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from matplotlib.figure import Figure
from memory import MEBIBYTE, resident
from rich.progress import track

import logitpair as lp
from logitpair.attacks import PGD
from logitpair.data import batches, first
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.runtime import environment
from logitpair.storage.atomic_files import atomic_write

STEPS, IMAGES, PROCESSES = (5, 10, 20, 40), (64, 128, 256, 512), (1, 2)
WHERE = {"steps": "steps, 128 images", "images": "images, 10 steps", "processes": "processes", "memory": "steps, 128 images"}
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder of the data set, instead of the recipe's")
    parser.add_argument("--examples", type=int, default=2048, help="test images that processes share")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--draw", action="store_true", help="draw what --out holds")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/scaling.json"))
    parser.add_argument("--figure", type=Path, default=Path("results/benchmarks/scaling.svg"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # steps whose memory is measured, in the process that is
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.one:
        print(added_memory(arguments))
    elif arguments.draw:
        draw(json.loads(arguments.out.read_text())["curves"]).savefig(arguments.figure, bbox_inches="tight")
    else:
        curves = measured(arguments)
        record = {"curves": curves, "versions": environment.versions(), "hardware": environment.hardware(CPU)}
        atomic_write(arguments.out, json.dumps(record, indent=1) + "\n")
        draw(curves).savefig(arguments.figure, bbox_inches="tight")
        for name, points in curves.items():
            print(name, {point: values["of_first"] for point, values in points.items()})


def measured(arguments: argparse.Namespace) -> dict[str, dict[int, dict[str, float]]]:
    """Every curve: the median at each point with its spread, and the cost of a unit there, of the first point's."""
    model, x, y = attacked(arguments, max(IMAGES))
    calls: dict[tuple[str, int], Callable[[], object]] = {
        **{("steps", steps): lambda steps=steps: attack(steps)(model, x[:128], y[:128]) for steps in STEPS},
        **{("images", images): lambda images=images: attack(10)(model, x[:images], y[:images]) for images in IMAGES},
    }
    found: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    for number in track(range(arguments.repeats + 1), "seconds", transient=True):
        for key, call in calls.items():
            began = time.perf_counter()
            call()
            if number:
                found[key].append(time.perf_counter() - began)
    shared: dict[tuple[str, int], list[float]] = {("processes", number): [] for number in PROCESSES}
    for _round in track(range(arguments.repeats), "processes", transient=True):
        for (_, number), seconds in shared.items():
            without_start = command(arguments, number, arguments.examples) - command(arguments, number, 128 * number)
            seconds.append(without_start * arguments.examples / (arguments.examples - 128 * number))
    needed = {("memory", steps): [float(in_a_process(arguments, steps)) / MEBIBYTE] for steps in STEPS}
    curves: dict[str, dict[int, dict[str, float]]] = {}
    for (name, point), values in (found | shared | needed).items():
        curve, median = curves.setdefault(name, {}), statistics.median(values)
        per_unit = median / point if name in ("steps", "images") else median
        usual = curve[next(iter(curve))]["per_unit"] if curve else per_unit
        spread = {"median": round(median, 4), "lowest": round(min(values), 4), "highest": round(max(values), 4)}
        curve[point] = spread | {"per_unit": per_unit, "of_first": round(per_unit / usual, 3)}
    return curves


def attacked(arguments: argparse.Namespace, images: int) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """The run's network, and the first test images."""
    task = EvaluationTask.from_run(arguments.run, device=CPU, attacks="fgsm_1", data_dir=arguments.data_dir)
    return task.model, *next(batches(first(task.test, images), images, CPU))


def attack(steps: int) -> PGD:
    """PGD of so many steps, all of which every image takes."""
    return lp.attacks.PGD(lp.Linf(0.3), step_size=0.01, steps=steps, early_stop=False)


def command(arguments: argparse.Namespace, processes: int, examples: int) -> float:
    """Seconds of an evaluation of a copy of the run, without the curve, whose images are as many for any ``examples``."""
    options = [f"--processes={processes}", f"--examples={examples}", "--attacks=bim_76.5_2.55_20", "--batch-size=128"]
    where = [f"--data-dir={arguments.data_dir}"] if arguments.data_dir else []
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(arguments.run, Path(folder) / "run", ignore=shutil.ignore_patterns("evaluation", "audit", "tensorboard"))
        settings = yaml.safe_load((copy / "config.yaml").read_text())
        settings["run"]["evaluation"]["curve"] = []
        (copy / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        began = time.perf_counter()
        run([sys.executable, "-m", "logitpair", "evaluate", str(copy), *where, *options])
        return time.perf_counter() - began


def in_a_process(arguments: argparse.Namespace, steps: int) -> int:
    """Bytes that a call of so many steps adds, in a process of its own."""
    where = [f"--data-dir={arguments.data_dir}"] if arguments.data_dir else []
    return int(run([sys.executable, __file__, str(arguments.run), *where, f"--one={steps}"]))


def run(command: list[str]) -> str:
    """What a process writes; memory that it frees goes back to the system."""
    alone = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    return subprocess.run(command, env=os.environ | alone, check=True, capture_output=True, text=True).stdout  # noqa: S603 (our own)


def added_memory(arguments: argparse.Namespace) -> int:
    """Bytes that the call adds at most."""
    model, x, y = attacked(arguments, 128)
    attack(1)(model, x[:2], y[:2])
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = resident("VmRSS")
    attack(arguments.one)(model, x, y)
    return resident("VmHWM") - before


def draw(curves: Mapping[str, Mapping[Any, Mapping[str, float]]]) -> Figure:
    """A panel for each curve; a dashed line is what exact proportion, or no growth, would be."""
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        at, values = [int(point) for point in points], [point["median"] for point in points.values()]
        grows = name in ("steps", "images")
        ideal = [values[0] * (x / at[0] if grows else 1 / x if name == "processes" else 1) for x in at]
        axes.plot(at, ideal, "--", color="0.7")
        axes.plot(at, values, "o-")
        axes.set(xlabel=WHERE[name], ylabel="MiB added" if name == "memory" else "seconds", ylim=(0, None), xticks=at)
    return figure


if __name__ == "__main__":
    main()
