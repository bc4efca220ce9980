"""Which commands there are, and what a command line wants of them. Imports the chosen command alone.

A command is a module: ``add_arguments(parser)`` adds its options, ``run(arguments)`` carries it out, and ``expand(arguments)``, where
there is one, is applied to the command line before it is parsed. One that needs PyTorch for its work alone imports it in ``run``, so that
``--help`` and mistaken options do not wait for it. The exit code is what ``run`` returns, 0 for None.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

from jsonargparse import ArgumentParser, Namespace

from logitpair import __version__
from logitpair.cli.help import HelpFormatter
from logitpair.cli.options import suggestion
from logitpair.config.refusals import parse_known, refusals
from logitpair.errors import InputError

COMMANDS = {
    "demo": "train plain, M-PGD and ALP on embedded digits, evaluate, report: a minute or two",
    "recipes": "what can be trained: expected time, hardware, clean and robust accuracy",
    "train": "train a classifier by a recipe; the same command again resumes",
    "evaluate": "accuracy of a run, or of a model of yours: clean, white box, and black box from other runs",
    "transfer": "black box between several runs: images made against each, tried on all the others",
    "audit": "how robust a run, or a model of yours, really is, and whether its robust accuracy can be believed",
    "certify": "what no perturbation can change: a lower bound on the robust accuracy of a run, or of a model of yours",
    "report": "one self-contained HTML page of one or several runs, or sweeps",
    "export": "write a run's network for other programs and hubs, and compare what was written with it",
    "copy": "copy a run to a URL such as s3://bucket/runs/alp, or from there: whole, or marked as not",
    "push": "put a run's network on the Hugging Face hub, with a card of how robust it is",
    "sweep": "train and evaluate a recipe at every point of a grid of settings; the same command again resumes",
    "reproduce": "the paper's tables and figures, beside the paper's own numbers; the same command again resumes",
    "bench": "how fast attacks are on this machine: ours, other libraries' and the network alone",
    "plan": "what training by a recipe will cost: operations, memory and hours on given GPUs",
}


def parse(argv: Sequence[str]) -> tuple[Callable[[Namespace], int | None], Namespace]:
    """The function that carries out the command, and its arguments; ``--help`` and ``--version`` end in ``SystemExit``."""
    chosen, *arguments = argv or ["--help"]
    if chosen not in COMMANDS:
        _about(chosen)
    command = import_module(f"logitpair.cli.commands.{chosen}")
    parser = ArgumentParser(
        prog=f"logitpair {chosen}", description=COMMANDS[chosen], exit_on_error=False, allow_abbrev=False, formatter_class=HelpFormatter
    )
    command.add_arguments(parser)
    for option, value in zip(arguments, [*arguments[1:], None], strict=False):
        name, equals, rest = option.partition("=")
        if option.startswith("--") and (value == "" if not equals else not rest):  # a variable that is not set; a path would be this folder
            raise InputError(f"{name}: '' is empty; accepted: a value, or no {name}")
    given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    try:
        with refusals():
            of_recipe: AbstractContextManager[None] = nullcontext()
            if hasattr(command, "expand") and arguments[:1] not in (["-h"], ["--help"]):
                from logitpair.config.parsing import naming_recipe

                arguments = command.expand(arguments)  # `train` puts its recipe's settings before the overrides
                of_recipe = naming_recipe(arguments[0], json.loads(arguments[2]))
            with of_recipe, refusals():
                parsed = parse_known(parser, arguments)
            parsed.command_line = list(argv)
            return command.run, parsed
    except InputError as error:
        key, colon, reason = str(error).partition(": ")
        option = next((option for option in given if option[2:].replace("-", "_") == key), key)  # as it was given
        raise InputError(f"{option}{colon}{reason}") from error


def _about(option: str) -> None:
    """What ``--help`` and ``--version`` show of the program."""
    if option not in ("-h", "--help", "--version"):
        raise InputError(f"no command '{option}'; {suggestion(option, COMMANDS)}")
    parser = ArgumentParser(
        prog="logitpair",
        version=__version__,
        description="Train robust image classifiers and find out how robust they really are.",
        allow_abbrev=False,
        epilog="`logitpair COMMAND --help` explains each. Exit codes: 0 success, 2 bad input, 3 diverged training, 4 to 6 as --fail-under "
        "and --fail-on ask for, 130 interrupted. LOGITPAIR_TRACEBACK=1 shows the whole error.",
    )
    commands = parser.add_subcommands(metavar="COMMAND", required=False)
    for name, summary in COMMANDS.items():
        commands.add_subcommand(name, ArgumentParser(allow_abbrev=False), help=summary)
    parser.parse_args([option])  # raises SystemExit
