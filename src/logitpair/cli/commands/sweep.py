"""``logitpair sweep``"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_folder, device_of
from logitpair.cli.recipe_options import add_recipe, add_running, recipe_first
from logitpair.cli.sweep_table import print_sweep
from logitpair.config import recipes
from logitpair.config.parsing import add_settings
from logitpair.errors import InputError
from logitpair.report.pages.sweep_page import write_sweeps
from logitpair.runtime.progress import console
from logitpair.sweeps import grid
from logitpair.sweeps.sweep import Sweep, sweep

OWN = ("--out", "--scale", "--data-dir", "--device", "--seeds", "--jobs", "--examples")


def add_arguments(parser: ArgumentParser) -> None:
    parser.description = (
        f"{parser.description}. A setting with several values, separated by commas, is an axis of the grid: --objective.weight 0,0.1,0.5. "
        "Several axes make all combinations; a setting with one value holds for all runs."
    )
    add_recipe(parser)
    add_options(parser, "out", help="folder of the sweep; sweeps/RECIPE by default")
    add_running(parser)
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
