"""The options that name a recipe, and how its settings come before those of the command line."""

from __future__ import annotations

import argparse
import json

from jsonargparse import ArgumentParser

from logitpair.cli.options import add_options
from logitpair.config import recipes
from logitpair.errors import InputError


def add_recipe(parser: ArgumentParser) -> None:
    """``RECIPE``, ``--data-dir`` and ``--scale``."""
    parser.add_argument("recipe", type=str, help="name (see `logitpair recipes`) or YAML file; it comes first")
    add_options(parser, "data-dir", "scale")


def add_running(parser: ArgumentParser, seeds: int = 1) -> None:
    """How many trainings there are, side by side, and on how many images they are evaluated."""
    parser.add_argument("--seeds", type=int, default=seeds, help="trainings at each point, with seeds from --seed (0) on")
    parser.add_argument(
        "--jobs",
        type=int | None,
        default=None,
        help="trainings side by side, each with an equal share of the CPU threads and with one GPU where there are any; "
        "one a GPU by default, or one on the CPU",
    )
    add_options(parser, "examples", "device")


def recipe_first(arguments: list[str], command: str, usage: str = "[--option VALUE]") -> list[str]:
    """The arguments with the recipe's settings, at its scale, before those that override them, so that ``--help`` sees them too."""
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"the recipe comes first: logitpair {command} RECIPE {usage}; `logitpair recipes` lists them")
    scales = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scales.add_argument("--scale")
    scale = scales.parse_known_args(arguments[1:])[0].scale
    return [arguments[0], "--config", json.dumps(recipes.load(arguments[0]).at_scale(scale)), *arguments[1:]]
