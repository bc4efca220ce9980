"""``logitpair recipes``"""

from jsonargparse import ArgumentParser, Namespace
from rich.text import Text

from logitpair.cli.terminal import console
from logitpair.config import recipes


def add_arguments(parser: ArgumentParser) -> None:
    pass


def run(arguments: Namespace) -> None:
    """Print the list."""
    for name in recipes.names():
        recipe = recipes.load(name)
        about = recipe.about
        facts = [about[key] for key in ("hardware", "time") if key in about]
        facts += [f"{key} {about[key]}%" for key in ("clean", "robust") if key in about]
        facts += [f"scales: {', '.join(['paper', *recipe.scales])}"] if recipe.scales else []
        console.print(Text.assemble((name, "bold"), f"  {about['summary']}"))
        console.print(f"    {' · '.join(facts)}")
    console.print("\nTrain one: logitpair train RECIPE [--data-dir D] [--out RUN]")
