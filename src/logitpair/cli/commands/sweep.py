"""``logitpair sweep``"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from logitpair.cli.options import add_data_dir, add_device, check_folder, device_of
from logitpair.cli.sweep_table import print_sweep
from logitpair.config import recipes
from logitpair.errors import InputError
from logitpair.report.pages.sweep_page import write_sweeps
from logitpair.runtime.progress import console
from logitpair.sweeps import grid
from logitpair.sweeps.sweep import Sweep, sweep

SUMMARY = "train and evaluate a recipe at every point of a grid of settings; the same command again resumes"
OWN = ("--out", "--scale", "--data-dir", "--device", "--seeds", "--jobs", "--examples")


def add_arguments(parser: ArgumentParser) -> None:
    """The command's own arguments and, for ``--help``, every setting of a run."""
    parser.description = (
        f"{SUMMARY}. A setting with several values, separated by commas, is an axis of the grid: --objective.weight 0,0.1,0.5. "
        "Several axes make all combinations; a setting with one value holds for all runs."
    )
    parser.add_argument("recipe", type=str, help="name (see `logitpair recipes`) or YAML file; it comes first")
    add_data_dir(parser)
    parser.add_argument("--out", type=Path | None, default=None, help="folder of the sweep; sweeps/RECIPE by default")
    parser.add_argument("--scale", type=str | None, default=None, help="a smaller version of the recipe, where it has one: smoke, cpu")
    add_running(parser)
    parser.add_argument("--overrides", type=str, default="[]", help=SUPPRESS)  # what `expand` found, for `run`
    recipes.add_settings(parser)


def add_running(parser: ArgumentParser, seeds: int = 1) -> None:
    """How many trainings there are, side by side, and on how many images they are evaluated."""
    add_device(parser)
    parser.add_argument("--seeds", type=int, default=seeds, help="trainings at each point, with seeds from --seed (0) on")
    parser.add_argument(
        "--jobs",
        type=int | None,
        default=None,
        help="trainings side by side, each with an equal share of the CPU threads and with one GPU where there are any; "
        "one a GPU by default, or one on the CPU",
    )
    parser.add_argument("--examples", type=int | None, default=None, help="evaluate on the first N test images only")


def expand(arguments: list[str]) -> list[str]:
    """Tell the command's own options from settings, which the parser gets as one list since an axis has no type it knows."""
    if {"-h", "--help"} & set(arguments[:1]):
        return arguments
    if not arguments or arguments[0].startswith("-"):
        raise InputError("the recipe comes first: logitpair sweep RECIPE --setting VALUE,VALUE; `logitpair recipes` lists them")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in OWN:
        parser.add_argument(option)
    own, settings = parser.parse_known_args(arguments[1:])
    given = [f"{option}={value}" for option in OWN if (value := getattr(own, option[2:].replace("-", "_"))) is not None]
    recipe = [arguments[0], "--config", json.dumps(recipes.load(arguments[0]).at_scale(own.scale))]
    if {"-h", "--help"} & set(settings):
        return [*recipe, "--help"]
    return [*recipe, *given, f"--overrides={json.dumps(settings)}"]


def run(arguments: Namespace) -> None:
    """Train and evaluate every run that is not finished, then tell what the grid shows."""
    axes, fixed = grid.read(json.loads(arguments.overrides))
    check_folder(arguments.out)
    if not axes:
        raise InputError("no setting has several values; give at least one, such as --objective.weight 0,0.1,0.5")
    if "seed" in axes:
        raise InputError("--seed is one number, the first of --seeds N")
    first = fixed.pop("seed", "0")
    if not first.isdecimal():
        raise InputError(f"--seed: '{first}' is not a whole number of at least 0")
    out = arguments.out or Path("sweeps") / recipes.load(arguments.recipe).name
    results = sweep(
        Sweep(
            recipe=arguments.recipe,
            scale=arguments.scale,
            data_dir=arguments.data_dir,
            out=out,
            axes=axes,
            fixed=fixed,
            seeds=range(int(first), int(first) + arguments.seeds),
            examples=arguments.examples,
        ),
        jobs=arguments.jobs,
        device=device_of(arguments.device),
    )
    for path in (out / "sweep.json", *write_sweeps([out], out / "sweep.html")):
        console.print(f"Wrote {path}")
    print_sweep(results, out)
