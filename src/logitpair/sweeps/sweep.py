"""Sweeping: every run of a grid trained and evaluated by the commands that train and evaluate a single one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from logitpair.config import parsing, recipes
from logitpair.config.parsing import Settings
from logitpair.errors import InputError
from logitpair.runs import run_directory as runs
from logitpair.runtime import precision
from logitpair.runtime.progress import console, progress_bar
from logitpair.runtime.signals import GracefulStop
from logitpair.sweeps import grid, record, runner as workers
from logitpair.sweeps.grid import Axis

BAD_INPUT, INTERRUPTED = 2, 130  # exit codes of the command line


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to train and evaluate.

    Args:
        recipe: name or YAML file.
        scale: of the recipe.
        data_dir: the data set's folder, instead of the recipe's.
        out: folder of the sweep.
        axes: settings that vary; with none there is one point.
        fixed: settings that differ from the recipe in all runs.
        seeds: of training, each at every point.
        examples: how many test images to evaluate on, from the first; None for all.
    """

    recipe: str
    scale: str | None = None
    data_dir: Path | None = None
    out: Path
    axes: Sequence[Axis] = ()
    fixed: Mapping[str, str]
    seeds: Sequence[int]
    examples: int | None = None


class RunsFailed(ArithmeticError):
    """Some runs have no result, most likely because they diverged; the others are finished."""


def sweep(wanted: Sweep, *, jobs: int | None, device: torch.device) -> dict[str, Any]:
    """Train and evaluate every run that is not finished yet, and return the content of ``sweep.json``, with the runs that failed.

    Args:
        wanted: the grid.
        jobs: runs side by side; one a GPU by default, or one on the CPU.
        device: the CPU, a GPU, or ``cuda`` for all GPUs.

    Raises:
        InputError: for settings that are refused at any point, before anything is trained; for what a run refuses when it sees its
            data and its network, naming the run; or for a folder that holds another sweep or a run.
        KeyboardInterrupt: after SIGINT or SIGTERM, when the runs under way are saved.
    """
    if "RANK" in os.environ:
        raise InputError("sweep: start it without torchrun; it uses several GPUs by itself")
    for option, number in (("--seeds", len(wanted.seeds)), ("--jobs", jobs), ("--examples", wanted.examples)):
        if number is not None and number < 1:
            raise InputError(f"{option} must be at least 1, not {number}")
    recipe = recipes.load(wanted.recipe)
    head = {
        "recipe": recipe.name,
        "scale": wanted.scale or "paper",
        "overrides": {setting: grid.value(text) for setting, text in wanted.fixed.items()},
        "axes": [{"setting": axis.setting, "values": [grid.value(text) for text in axis.values]} for axis in wanted.axes],
        "seeds": list(wanted.seeds),
    }
    if (wanted.out / "config.yaml").exists():
        raise InputError(f"--out: {wanted.out} holds a single run; give the sweep a folder of its own")
    before = _begun(wanted.out, head)
    entries, tasks = _plan(wanted, recipe, device)
    for name, entry in entries.items():
        old = before.get(name)
        if old and record.same_request(old, entry) and record.still_finished(old, wanted.out / name):
            entries[name] = old
            del tasks[name]
    content = record.write(wanted.out, head, list(entries.values()))
    console.print(f"{len(entries)} runs, {len(entries) - len(tasks)} of them finished before -> {wanted.out}")
    gpus = _gpus(device)
    jobs = jobs or len(gpus) or 1
    crew = workers.environments(jobs, threads=max(1, torch.get_num_threads() // jobs), gpus=gpus)
    warned: set[str] = set()
    with GracefulStop() as interrupt, progress_bar() as bar:
        task = bar.add_task("runs", total=len(entries), completed=len(entries) - len(tasks), note="")
        try:
            with contextlib.closing(workers.carry_out(tasks, crew, lambda: interrupt.requested)) as answers:
                for name, answer in answers:
                    for warning in answer.warnings:
                        if warning not in warned:
                            console.print(f"logitpair: {warning}")
                    warned |= set(answer.warnings)
                    if answer.code == BAD_INPUT:
                        raise InputError(f"{name}: {answer.message}")
                    if answer.code == INTERRUPTED:
                        raise KeyboardInterrupt
                    entries[name] |= record.failed(answer.message) if answer.code else record.finished(wanted.out / name)
                    content = record.write(wanted.out, head, list(entries.values()))
                    console.print(_line(entries[name]))
                    bar.update(task, advance=1)
        except KeyboardInterrupt as error:
            done = sum(entry["status"] == "finished" for entry in entries.values())
            raise KeyboardInterrupt(f"stopped with {done} of {len(entries)} runs finished; the same command again goes on") from error
    return content


def say(content: Mapping[str, Any], folder: Path) -> None:
    """Print the grid's points, and the one to choose.

    Raises:
        RunsFailed: if a run failed, naming the first.
    """
    if content["axes"]:
        console.print(_table(content))
    best = content["best"]
    if best and content["axes"]:
        console.print(f"Best on held-out images: {_settings(best['settings'])} ({best['validation_white_box']:.1%} white box)")
    failed = [run for run in content["runs"] if run["status"] == "failed"]
    if failed:
        raise RunsFailed(
            f"{len(failed)} of {len(content['runs'])} runs failed, such as {folder / failed[0]['path']}: {failed[0]['message']}"
        )


def _begun(out: Path, head: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs of the sweep that the folder holds, by their path; those that have begun must be a part of the sweep that is wanted now."""
    if not (out / "sweep.json").exists():
        return {}
    old = record.read(out)
    now = {axis["setting"]: axis["values"] for axis in head["axes"]}
    then = [axis["setting"] for axis in old["axes"]]
    begun = [run for run in old["runs"] if run["status"] == "finished" or (out / run["path"] / "checkpoints" / "last.pt").exists()]
    same = old["recipe"] == head["recipe"] and list(now) == then and {run["seed"] for run in begun} <= set(head["seeds"])
    if begun and (not same or any(value not in now[setting] for run in begun for setting, value in run["settings"].items())):
        raise InputError(
            f"--out: {out} holds a sweep of {old['recipe']} over {', '.join(then)} with other values or seeds; "
            "keep those and add to them, or give another folder"
        )
    return {run["path"]: run for run in old["runs"]}


def _plan(wanted: Sweep, recipe: recipes.Recipe, device: torch.device) -> tuple[dict[str, dict[str, Any]], dict[str, list[list[str]]]]:
    """Entry and commands of every run; all are checked, against the folders that hold them too, before the first one starts."""
    common = ["--device", device.type, *(["--data-dir", str(wanted.data_dir)] if wanted.data_dir else [])]
    scale = ["--scale", wanted.scale] if wanted.scale else []
    limit = ["--examples", str(wanted.examples)] if wanted.examples else []
    entries: dict[str, dict[str, Any]] = {}
    tasks: dict[str, list[list[str]]] = {}
    resolved: dict[str, Settings] = {}
    for point in grid.points(wanted.axes):
        for seed in wanted.seeds:
            name = grid.folder(point, seed)
            overrides, resolved[name] = _resolve(wanted, recipe, point, seed, device)
            evaluation = {
                key: value for key, value in resolved[name].values["evaluation"].items() if key != "batch_size"
            }  # no result depends on it
            entries[name] = {
                "path": name,
                "settings": {setting: grid.value(text) for setting, text in point.items()},
                "seed": seed,
                "evaluation": {"examples": wanted.examples, **evaluation},
                "status": "pending",
                "message": None,
            }
            folder = str(wanted.out / name)
            tasks[name] = [
                ["train", wanted.recipe, *common, *scale, "--out", folder, *overrides],
                ["evaluate", folder, *common, *limit],
            ]
    for name, settings in resolved.items():
        runs.prepare(wanted.out / name, recipe.name, wanted.scale, settings)
    return entries, tasks


def _resolve(wanted: Sweep, recipe: recipes.Recipe, point: grid.Point, seed: int, device: torch.device) -> tuple[list[str], Settings]:
    """What overrides the recipe in a run, as ``logitpair train`` takes it, and the settings that result."""
    settings = recipe.at_scale(wanted.scale)
    try:
        overrides = [f"--{setting}={text}" for setting, text in {**wanted.fixed, **point, "seed": str(seed)}.items()]
        resolved = parsing.resolve(settings, overrides, data_dir=wanted.data_dir)
    except InputError as error:
        raise InputError(f"{' '.join(f'--{setting} {text}' for setting, text in point.items())}: {error}") from error
    dtype = str(precision.resolve(resolved.config.precision, device)).removeprefix("torch.")
    return overrides, Settings(resolved.config, resolved.values | {"precision": dtype})  # as training writes it down


def _gpus(device: torch.device) -> list[str]:
    """The GPUs to use, as ``CUDA_VISIBLE_DEVICES`` names them; none on the CPU."""
    if device.type != "cuda":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return [names[device.index]] if ":" in str(device) else names


def _line(entry: Mapping[str, Any]) -> str:
    if entry["status"] == "failed":
        return f"{entry['path']} failed: {entry['message']}"
    return (
        f"{entry['path']}: held out {entry['validation_clean']:.1%} clean, {entry['validation_white_box']:.1%} white box"
        f" · test {entry['clean']['top1']:.1%} clean, {entry['white_box']['top1']:.1%} white box · {sum(entry['seconds'].values()):.0f} s"
    )


def _table(content: Mapping[str, Any]) -> Table:
    table = Table(
        "", "runs", "held-out clean %", "held-out white box %", "clean %", "white box %", title="mean over seeds (lowest - highest)"
    )
    for point in content["points"]:
        cells = [_range(point[measure]) for measure in record.MEASURES]
        table.add_row(", ".join(map(_short, point["settings"].values())), f"{point['finished']} / {point['runs']}", *cells)
    return table


def _range(spread: Mapping[str, float] | None) -> str:
    if not spread:
        return "-"
    mean, low, high = (f"{100 * spread[key]:.1f}" for key in ("mean", "min", "max"))
    return f"{mean} ({low} - {high})" if low != high else mean


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{setting} = {_short(value)}" for setting, value in settings.items())


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
