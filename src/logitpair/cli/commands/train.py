"""``logitpair train``"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_data_dir, add_device, check_folder, device_of
from logitpair.config import recipes
from logitpair.errors import InputError
from logitpair.runs import run_directory as runs
from logitpair.runtime.distributed import is_main_process
from logitpair.runtime.precision import resolve
from logitpair.runtime.progress import console
from logitpair.training.train import train

SUMMARY = "train a classifier by a recipe; the same command again resumes"


def add_arguments(parser: ArgumentParser) -> None:
    """The command's own arguments and every setting of the run."""
    parser.add_argument("recipe", type=str, help="name (see `logitpair recipes`) or YAML file; it comes first")
    add_data_dir(parser)
    parser.add_argument("--out", type=Path | None, default=None, help="run directory; runs/RECIPE by default")
    parser.add_argument("--scale", type=str | None, default=None, help="a smaller version of the recipe, where it has one: smoke, cpu")
    add_device(parser)
    recipes.add_settings(parser)


def expand(arguments: list[str], command: str = "train") -> list[str]:
    """Put the recipe's settings, at its scale, before the overrides, so that the parser and ``--help`` see them."""
    if {"-h", "--help"} & set(arguments[:1]):
        return arguments
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"the recipe comes first: logitpair {command} RECIPE [--option VALUE]; `logitpair recipes` lists them")
    scales = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    scales.add_argument("--scale")
    scale = scales.parse_known_args(arguments[1:])[0].scale
    settings = recipes.load(arguments[0]).at_scale(scale)
    return [arguments[0], "--config", json.dumps(settings), *arguments[1:]]


def run(arguments: Namespace) -> None:
    """Train, or resume."""
    name = recipes.load(arguments.recipe).name
    if arguments.data_dir is not None:
        arguments["data.init_args.root"] = arguments.data_dir
    device = device_of(arguments.device)
    arguments.precision = str(resolve(arguments.precision, device)).removeprefix("torch.")  # resuming elsewhere must not change it
    settings = recipes.build(arguments)
    out = arguments.out or Path("runs") / name
    check_folder(out)
    if is_main_process():
        runs.prepare(out, name, arguments.scale, settings)
    train(settings.config, out, device=device)
    if is_main_process():
        console.print(f"Trained: {out}\nNext: logitpair evaluate {out}")
