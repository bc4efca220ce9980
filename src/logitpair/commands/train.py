"""``logitpair train``"""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair import recipes, run as runs
from logitpair.commands.options import add_data_dir, add_device, device_of
from logitpair.console import console
from logitpair.distributed import is_main_process
from logitpair.train import train

SUMMARY = "train a classifier by a recipe; the same command again resumes"


def add_arguments(parser: ArgumentParser) -> None:
    """The command's own arguments and every setting of the run."""
    parser.add_argument("recipe", type=str, help="name (see `logitpair recipes`) or YAML file; it comes first")
    add_data_dir(parser)
    parser.add_argument("--out", type=Path | None, default=None, help="run directory; runs/RECIPE by default")
    parser.add_argument("--scale", type=str | None, default=None, help="a smaller version of the recipe, where it has one: smoke, cpu")
    add_device(parser)
    recipes.add_settings(parser)


def expand(arguments: list[str]) -> list[str]:
    """Put the recipe's settings, at its scale, before the overrides, so that the parser and ``--help`` see them."""
    if not arguments or arguments[0].startswith("-"):
        return arguments
    given = " ".join(arguments).replace("--scale=", "--scale ").split()
    scale = given[given.index("--scale") + 1] if "--scale" in given[:-1] else None
    settings = recipes.load(arguments[0]).at_scale(scale)
    return [arguments[0], "--config", json.dumps(settings), *arguments[1:]]


def run(arguments: Namespace) -> None:
    """Train, or resume."""
    name = recipes.load(arguments.recipe).name
    if arguments.data_dir is not None:
        arguments["data.init_args.root"] = arguments.data_dir
    settings = recipes.build(arguments)
    out = arguments.out or Path("runs") / name
    device = device_of(arguments.device)
    if is_main_process():
        runs.prepare(out, name, arguments.scale, settings)
    train(settings.config, out, device=device)
    if is_main_process():
        console.print(f"Trained: {out}\nNext: logitpair evaluate {out}")
