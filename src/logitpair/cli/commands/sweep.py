"""``logitpair sweep``"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from logitpair.cli.options import add_options, add_recipe, add_running, check_choice, check_folder, device_of, recipe_first
from logitpair.cli.terminal import console, print_rows
from logitpair.config import recipes
from logitpair.config.parsing import add_settings
from logitpair.errors import InputError
from logitpair.evaluation.confidence import mean_and_range
from logitpair.report.pages.sweep_page import write_sweeps
from logitpair.report.records import load_sweep, portable
from logitpair.storage.results import SweepResults
from logitpair.sweeps import grid, record
from logitpair.sweeps.sweep import Sweep, sweep
from logitpair.validate import at_least

OWN = ("--out", "--scale", "--data-dir", "--device", "--seeds", "--jobs", "--examples", "--executor", "--slurm")
COLUMNS = ("", "runs", "held-out clean %", "held-out white box %", "clean %", "white box %")


def add_arguments(parser: ArgumentParser) -> None:
    parser.description = (
        f"{parser.description}. A setting with several values, separated by commas, is an axis of the grid: --objective.weight 0,0.1,0.5. "
        "Several axes make all combinations; a setting with one value holds for all runs."
    )
    add_recipe(parser)
    add_options(parser, "out", help="folder of the sweep; sweeps/RECIPE by default")
    add_running(parser, seeds="trainings at each point, with seeds from --seed (0) on")
    add_options(parser, "examples")
    parser.add_argument(
        "--executor", type=str | None, default=None, help="slurm or local: each run as a job, by submitit (docs/how-to/cluster.md)"
    )
    parser.add_argument(
        "--slurm",
        type=str,
        default="",
        metavar="KEY=VALUE,...",
        help="options of sbatch for each job, with _ for - and minutes for time: partition=gpu,time=600,gpus_per_node=1,cpus_per_task=12",
    )
    parser.add_argument("--overrides", type=str, default="[]", help=SUPPRESS)  # what `expand` found, for `run`
    add_settings(parser)


def expand(arguments: list[str]) -> list[str]:
    """Separate the command's own options from settings, which the parser gets as one list since an axis has no type it knows."""
    recipe, config, values, *rest = recipe_first(arguments, "sweep", usage="--setting VALUE,VALUE")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in OWN:
        parser.add_argument(option)
    own, settings = parser.parse_known_args(rest)
    given = [f"{option}={value}" for option in OWN if (value := getattr(own, option[2:].replace("-", "_"))) is not None]
    wants_help = {"-h", "--help"} & set(settings)
    return [recipe, config, values, *(["--help"] if wants_help else [*given, f"--overrides={json.dumps(settings)}"])]


def run(arguments: Namespace) -> None:
    """Train and evaluate every run that is not finished, then show the grid."""
    axes, fixed = grid.read(json.loads(arguments.overrides))
    check_folder(arguments.out)
    check_choice("executor", arguments.executor, ("slurm", "local"))
    at_least("--seeds", arguments.seeds, 1)
    if not axes:
        raise InputError("no setting has several values; give at least one, such as --objective.weight 0,0.1,0.5")
    if "seed" in axes:
        raise InputError("--seed is one number, the first of --seeds N")
    first = fixed.pop("seed", "0")
    if not first.isdecimal():
        raise InputError(f"--seed: '{first}' is not a whole number of at least 0")
    out = arguments.out or Path("sweeps") / recipes.load(arguments.recipe).name
    wanted = Sweep(
        recipe=arguments.recipe,
        scale=arguments.scale,
        data_dir=arguments.data_dir,
        out=out,
        axes=axes,
        fixed=fixed,
        seeds=range(int(first), int(first) + arguments.seeds),
        examples=arguments.examples,
        executor=arguments.executor,
        slurm=_parameters(arguments.slurm),
    )
    results = sweep(wanted, jobs=arguments.jobs, device=_device(arguments.device, wanted.executor))
    for path in (out / "sweep.json", *write_sweeps([load_sweep(out)], [portable(out)], out / "sweep.html")):
        console.print(f"Wrote {path}")
    print_sweep(results, out)


def _device(name: str, executor: str | None) -> torch.device:
    """The device that ``--device`` names: of this machine, or of the cluster's, at which this one cannot look."""
    if executor != "slurm":
        return device_of(name)
    if name not in ("cuda", "cpu"):
        raise InputError(f"--device: '{name}' looks at this machine, not at the cluster's; accepted with --executor slurm: cuda, cpu")
    return torch.device(name)


def _parameters(text: str) -> dict[str, Any]:
    """The options of ``--slurm`` by name."""
    pairs = [part.partition("=") for part in grid.split(text)] if text else []
    for key, equals, value in pairs:
        if not (key and equals and value):
            raise InputError(f"--slurm: '{key}{equals}{value}' is not KEY=VALUE, such as partition=gpu")
    return {key: grid.value(value) for key, _, value in pairs}


def print_sweep(results: SweepResults, folder: Path) -> None:
    """Print the grid's points, and the one to choose; failed runs, which most likely diverged, are an error once the others are shown."""
    if results.axes:
        rows: list[tuple[str, ...]] = []
        for point in results.points:
            spreads = [mean_and_range(getattr(point, measure)) for measure in record.MEASURES]
            rows.append((", ".join(map(_short, point.settings.values())), f"{point.finished} / {point.runs}", *spreads))
        print_rows(COLUMNS, rows, title="mean over seeds (lowest - highest)")
    if results.best and results.axes:
        chosen = ", ".join(f"{setting} = {_short(value)}" for setting, value in results.best.settings.items())
        console.print(f"Best on held-out images: {chosen} ({results.best.validation_white_box:.1%} white box)")
    failed = [run for run in results.runs if run.status == "failed"]
    if failed:
        raise ArithmeticError(f"{len(failed)} of {len(results.runs)} runs failed, such as {folder / failed[0].path}: {failed[0].message}")


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
