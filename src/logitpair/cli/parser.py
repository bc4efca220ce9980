"""Which commands there are, and what a command line asks for. Imports the chosen command alone."""

from __future__ import annotations

import contextlib
import difflib
import re
from argparse import ArgumentError
from collections.abc import Callable, Generator, Sequence
from importlib import import_module

from jsonargparse import ArgumentParser, Namespace

from logitpair import __version__
from logitpair.cli.options import suggestion
from logitpair.config.numbers import with_numbers
from logitpair.config.refusals import refusals
from logitpair.errors import InputError

COMMANDS = {
    "demo": "train plain, M-PGD and ALP on embedded digits, evaluate, report: a minute or two",
    "recipes": "what can be trained: expected time, hardware, clean and robust accuracy",
    "train": "train a classifier by a recipe; the same command again resumes",
    "evaluate": "accuracy of a run, or of a model of yours: clean, white box, and black box from other runs",
    "transfer": "black box between several runs: images made against each, tried on all the others",
    "audit": "what a run, or a model of yours, really withstands, and whether its robust accuracy can be believed",
    "report": "one self-contained HTML page of one or several runs, or sweeps",
    "sweep": "train and evaluate a recipe at every point of a grid of settings; the same command again resumes",
    "reproduce": "the paper's tables and figures, beside the paper's own numbers; the same command again resumes",
    "plan": "what training by a recipe will cost: operations, memory and hours on given GPUs",
}


def parse(argv: Sequence[str]) -> tuple[Callable[[Namespace], None], Namespace]:
    """The function that carries out the command, and its arguments; ``--help`` and ``--version`` end in ``SystemExit``."""
    name, *arguments = argv or ["--help"]
    if name not in (*COMMANDS, "-h", "--help", "--version"):
        raise InputError(f"no command '{name}'; {suggestion(name, COMMANDS)}")
    parser = ArgumentParser(
        prog="logitpair",
        version=__version__,
        description="Train robust image classifiers and find out what they really withstand.",
        epilog="`logitpair COMMAND --help` explains each. LOGITPAIR_TRACEBACK=1 shows the whole error.",
        exit_on_error=False,
    )
    commands = parser.add_subcommands(metavar="COMMAND", required=False)
    own = {each: ArgumentParser(description=summary, exit_on_error=False) for each, summary in COMMANDS.items()}
    for each, summary in COMMANDS.items():
        commands.add_subcommand(each, own[each], help=summary)
        own[each].prog = f"logitpair {each}"
    if name not in COMMANDS:
        parser.parse_args([name])  # raises SystemExit
    command = import_module(f"logitpair.cli.commands.{name}")
    command.add_arguments(own[name])
    with refusals(), _plain_errors(own[name], name):
        if hasattr(command, "expand") and arguments[:1] not in (["-h"], ["--help"]):
            arguments = command.expand(arguments)  # `train` puts its recipe's settings before the overrides
        return command.run, parser.parse_args([name, *with_numbers(arguments)])[name]


@contextlib.contextmanager
def _plain_errors(parser: ArgumentParser, name: str) -> Generator[None]:
    """Name the nearest option where one that nobody knows is refused, and missing arguments without the command's name."""
    try:
        yield
    except ArgumentError as error:
        message = str(error)
        if message.startswith("the following arguments are required: "):
            raise InputError(message.replace(f" {name}.", " ")) from error
        unknown = re.fullmatch(r"unrecognized arguments: (--[\w.-]+).*", message, re.IGNORECASE | re.DOTALL)
        options = [option for action in parser._actions for option in action.option_strings]  # pyright: ignore[reportPrivateUsage]
        if unknown and (near := difflib.get_close_matches(unknown[1], options, n=1)):
            raise InputError(f"no option {unknown[1]}; did you mean {near[0]}?") from error
        raise
