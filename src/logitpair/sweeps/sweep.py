"""Sweeping: every run of a grid trained and evaluated by the commands that train and evaluate a single one."""

import contextlib
import functools
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from logitpair.config import parsing, recipes
from logitpair.config.parsing import Settings
from logitpair.errors import InputError
from logitpair.runs import run_directory
from logitpair.runtime.progress import Progress
from logitpair.runtime.signals import GracefulStop
from logitpair.storage import checkpoint, run_lock
from logitpair.storage.result_files import read_whole
from logitpair.storage.results import SCHEMA, Axis, EvaluationResults, SweepResults, SweepRun
from logitpair.sweeps import grid, record
from logitpair.sweeps.runner import Commands, environments, refuse_torchrun, run_all
from logitpair.sweeps.submitted import executor, submit_all
from logitpair.validate import at_least

logger = logging.getLogger("logitpair")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to train and evaluate."""

    recipe: str  # name or YAML file
    scale: str | None = None
    data_dir: Path | None = None
    out: Path
    axes: grid.Axes  # with none there is one point
    fixed: Mapping[str, str]  # settings that differ from the recipe in all runs
    seeds: Sequence[int]  # of training, each at every point
    examples: int | None = None  # how many test images to evaluate on, from the first; None for all
    executor: str | None = None  # of submitit, local or slurm; None for processes of this one
    slurm: Mapping[str, Any] = field(default_factory=dict)  # parameters of jobs, as sbatch names them


def sweep(wanted: Sweep, *, jobs: int | None, device: torch.device) -> SweepResults:
    """Train and evaluate every run that is not finished yet, and return the content of ``sweep.json``, with the runs that failed.

    ``jobs`` go on side by side: one a GPU by default, or one on the CPU; on Slurm all. Settings are refused at any point before anything
    is trained; what a run refuses when it sees its data and its network ends the sweep. After SIGINT or SIGTERM the runs under way are
    saved.
    """
    _check(wanted, jobs)
    queue = executor(wanted.executor, wanted.out / "jobs", wanted.slurm) if wanted.executor else None
    recipe = recipes.load(wanted.recipe)
    head = SweepResults(
        schema=SCHEMA,
        recipe=recipe.name,
        scale=wanted.scale or recipe.scale,
        overrides={setting: grid.value(text) for setting, text in wanted.fixed.items()},
        axes=tuple(Axis(setting=setting, values=tuple(map(grid.value, texts))) for setting, texts in wanted.axes.items()),
        seeds=tuple(wanted.seeds),
        runs=(),
        points=(),
    )
    runs, commands = _plan(wanted, recipe, device, begun=_begun(wanted.out, head))
    before = len(runs) - len(commands)
    logger.info(f"{len(runs)} runs, {before} of them finished before -> {wanted.out}")
    places: list[dict[str, str]] = [{}] * (jobs or len(runs)) if wanted.executor == "slurm" else slots(jobs, device)
    with run_lock.held(wanted.out), GracefulStop() as interrupt, Progress("runs", len(runs), before, unit=None) as bar:
        results = record.write(wanted.out, head, runs.values())
        run = functools.partial(submit_all, executor=queue) if queue else functools.partial(run_all, begin=bar.describe)
        try:
            with contextlib.closing(run(commands, places, lambda: interrupt.requested)) as outcomes:
                for name, outcome in outcomes:
                    failed = replace(runs[name], status="failed", message=outcome.message) if outcome.code else None
                    runs[name] = failed or record.finished(runs[name], wanted.out / name)
                    results = record.write(wanted.out, head, runs.values())
                    logger.info(_line(runs[name]))
                    bar.advance()
        except KeyboardInterrupt as error:
            done = sum(run.status == "finished" for run in runs.values())
            raise KeyboardInterrupt(f"stopped with {done} of {len(runs)} runs finished; the same command again goes on") from error
    return results


def _check(wanted: Sweep, jobs: int | None) -> None:
    refuse_torchrun("sweep")
    for option, number in (("--seeds", len(wanted.seeds)), ("--jobs", jobs), ("--examples", wanted.examples)):
        if number is not None:
            at_least(option, number, 1)
    if wanted.slurm and wanted.executor != "slurm":
        raise InputError("--slurm: goes with --executor slurm")
    if (wanted.out / "config.yaml").exists():
        raise InputError(f"--out: {wanted.out} holds a single run; give the sweep a folder of its own")


def _begun(out: Path, head: SweepResults) -> dict[str, SweepRun]:
    """The runs of the sweep that the folder holds, by their path; those that have begun must be among those wanted now."""
    if not (out / "sweep.json").exists():
        return {}
    old = record.read(out)
    now = {axis.setting: axis.values for axis in head.axes}
    then = [axis.setting for axis in old.axes]
    begun = [run for run in old.runs if run.status == "finished" or checkpoint.path_of(out / run.path).exists()]
    same = old.recipe == head.recipe and list(now) == then and {run.seed for run in begun} <= set(head.seeds)
    if begun and (not same or any(value not in now[setting] for run in begun for setting, value in run.settings.items())):
        raise InputError(
            f"--out: {out} holds a sweep of {old.recipe} over {', '.join(then)} with other values or seeds; "
            "keep those and add to them, or give another folder"
        )
    return {run.path: run for run in old.runs}


def _plan(
    wanted: Sweep, recipe: recipes.Recipe, device: torch.device, begun: Mapping[str, SweepRun]
) -> tuple[dict[str, SweepRun], dict[str, Commands]]:
    """Every run, and the commands of those that are not finished; all are checked, against their folders too, before the first starts."""
    common = ["--device", device.type, *([f"--data-dir={wanted.data_dir}"] if wanted.data_dir else [])]
    scale = ["--scale", wanted.scale] if wanted.scale else []
    limit = ["--examples", str(wanted.examples)] if wanted.examples else []
    runs: dict[str, SweepRun] = {}
    commands: dict[str, Commands] = {}
    resolved: dict[str, Settings] = {}
    for point, seed in itertools.product(grid.points(wanted.axes), wanted.seeds):
        name = grid.folder(point, seed)
        overrides = [f"--{setting}={text}" for setting, text in {**wanted.fixed, **point, "seed": str(seed)}.items()]
        resolved[name] = _resolve(wanted, recipe, overrides, point, device)
        evaluation = {"examples": wanted.examples, **resolved[name].values["evaluation"]}
        del evaluation["batch_size"]  # no result depends on it
        settings = {setting: grid.value(text) for setting, text in point.items()}
        runs[name] = SweepRun(path=name, settings=settings, seed=seed, evaluation=evaluation, status="pending")
        folder = str(wanted.out / name)
        train = ["train", wanted.recipe, *common, *scale, f"--out={folder}", *overrides]
        commands[name] = [train, ["evaluate", *common, *limit, "--", folder]]
    for name, settings in resolved.items():
        folder = wanted.out / name
        run_directory.prepare(folder, recipe.name, wanted.scale or recipe.scale, settings)
        _refuse_fewer(folder / "evaluation" / "test" / "results.json", wanted.examples)
        if name in begun and record.still_finished(begun[name], runs[name], folder):
            runs[name] = begun[name]
            del commands[name]
    return runs, commands


def _refuse_fewer(evaluation: Path, examples: int | None) -> None:
    """Refuse an evaluation of more images than the sweep's, which would not be written over."""
    before = None if examples is None else read_whole(evaluation, EvaluationResults)
    if before and before.examples > (examples or 0):
        raise InputError(
            f"--examples: '{evaluation.parent}' holds an evaluation of {before.examples:,} images, this one has {examples:,}; "
            "give as many, or another --out"
        )


def _resolve(wanted: Sweep, recipe: recipes.Recipe, overrides: Sequence[str], point: grid.Point, device: torch.device) -> Settings:
    try:
        run = recipe.at_scale(wanted.scale)
        with parsing.naming_recipe(wanted.recipe, run):
            resolved = parsing.resolve(run, overrides, data_dir=wanted.data_dir)
    except InputError as error:
        raise InputError(f"{' '.join(f'--{setting} {text}' for setting, text in point.items())}: {error}") from error
    if wanted.executor == "slurm" and resolved.config.precision == "auto":
        raise InputError("--precision: auto looks at this machine, not at the cluster's; accepted: float32, bfloat16, float16")
    return run_directory.as_trained(resolved, device)


def slots(jobs: int | None, device: torch.device, threads: int | None = None) -> list[dict[str, str]]:
    """The environments of ``jobs`` runs side by side: by default one a GPU, or one on the CPU, and an equal share of the threads."""
    gpus = _gpus(device)
    jobs = jobs or len(gpus) or 1
    return environments(jobs, threads=threads or max(1, torch.get_num_threads() // jobs), gpus=gpus)


def _gpus(device: torch.device) -> list[str]:
    """The GPUs to use, as ``CUDA_VISIBLE_DEVICES`` names them: the device's, or all for ``cuda``; none on the CPU."""
    if device.type != "cuda":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return [names[device.index]] if ":" in str(device) else names


def _line(run: SweepRun) -> str:
    if run.clean is None or run.white_box is None or run.seconds is None:
        return f"{run.path} failed: {run.message}"
    return (
        f"{run.path}: held out {run.validation_clean:.1%} clean, {run.validation_white_box:.1%} white box"
        f" · test {run.clean.top1:.1%} clean, {run.white_box.top1:.1%} white box"
        f" · {run.seconds.training + run.seconds.evaluation:.0f} s"
    )
