"""``logitpair recipes``"""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace
from rich.table import Table

from logitpair import recipes
from logitpair.console import console

SUMMARY = "what can be trained: expected time, hardware, clean and robust accuracy"


def add_arguments(parser: ArgumentParser) -> None:
    """No arguments."""


def run(arguments: Namespace) -> None:
    """Print the table."""
    table = Table("recipe", "what", "scales", "hardware", "time", "clean %", "robust %")
    for name in recipes.names():
        recipe = recipes.load(name)
        about = recipe.about
        scales = ", ".join(["paper", *recipe.scales])
        table.add_row(name, *(str(about.get(key, "-")) for key in ("summary",)), scales, *(str(about.get(key, "-")) for key in ("hardware", "time", "clean", "robust")))
    console.print(table)
    console.print("Train one: logitpair train RECIPE [--data-dir D] [--out RUN]", highlight=False)
