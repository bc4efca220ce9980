"""``logitpair recipes``"""

from jsonargparse import ArgumentParser, Namespace
from rich.text import Text

from logitpair.cli.terminal import console
from logitpair.config import recipes


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a name or a path, to print it whole: YAML that is a recipe again (default: list all)")


def run(arguments: Namespace) -> None:
    """Print the list, or a recipe with all that it takes from the one that it is like."""
    if arguments.recipe is None:
        _print_list()
        return
    recipe = recipes.load(arguments.recipe)
    parts = {"about": recipe.about, "run": recipe.run, "scales": recipe.scales}
    print(recipes.to_yaml({name: part for name, part in parts.items() if part}), end="")


def _print_list() -> None:
    for name in recipes.names():
        recipe = recipes.load(name)
        about = recipe.about
        facts = [about[key] for key in ("hardware", "time") if key in about]
        facts += [f"{key} {about[key]}%" for key in ("clean", "robust") if key in about]
        facts += [f"scales: {', '.join(['paper', *recipe.scales])}"] if recipe.scales else []
        console.print(Text.assemble((name, "bold"), f"  {about['summary']}"))
        console.print(f"    {' · '.join(facts)}")
    console.print("\nSee one whole: logitpair recipes RECIPE\nTrain one: logitpair train RECIPE [--data-dir D] [--out RUN]")
