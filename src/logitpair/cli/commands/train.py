"""``logitpair train``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, add_recipe, check_folder, device_of, recipe_first, use_engine
from logitpair.cli.terminal import console, print_next
from logitpair.config import recipes
from logitpair.config.parsing import add_settings, build, naming_recipe
from logitpair.runs import run_directory
from logitpair.runtime.distributed import is_main_process
from logitpair.runtime.precision import name_of
from logitpair.training.trackers import named
from logitpair.training.train import train


def add_arguments(parser: ArgumentParser) -> None:
    add_recipe(parser)
    add_options(parser, "out", help="run directory; runs/RECIPE by default")
    add_options(parser, "device", "engine", "tracker")
    add_settings(parser)


def expand(arguments: list[str]) -> list[str]:
    return recipe_first(arguments, "train")


def run(arguments: Namespace) -> None:
    """Train, or resume."""
    recipe = recipes.load(arguments.recipe)
    device = device_of(arguments.device)
    use_engine(arguments.engine)
    arguments.precision = name_of(arguments.precision, device)  # resuming elsewhere must not change it
    with naming_recipe(arguments.recipe, recipe.at_scale(arguments.scale)):
        settings = build(arguments, data_dir=arguments.data_dir)
    out = arguments.out or Path("runs") / recipe.name
    check_folder(out)
    trackers = named(arguments.tracker or ()) if is_main_process() else ()
    if is_main_process():
        run_directory.prepare(out, recipe.name, arguments.scale or recipe.scale, settings)
    train(settings.config, out, device=device, trackers=trackers)
    if is_main_process():
        console.print(f"Trained: {out}")
        print_next("logitpair", "evaluate", out)
