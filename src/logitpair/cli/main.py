"""The command line: finds the command, and turns bad input into one line and an exit code."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
import os
import re
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Generator

from jsonargparse import ArgumentParser

from logitpair import __version__
from logitpair.config import recipes
from logitpair.errors import InputError

COMMANDS = ("demo", "recipes", "train", "evaluate", "transfer", "audit", "report", "sweep", "reproduce", "plan")
TRACEBACK = "LOGITPAIR_TRACEBACK"


def main(argv: list[str] | None = None) -> int:
    """Run one command: 0 only for success, 2 for bad input, 3 for diverged training, 130 when interrupted."""
    warnings.showwarning = _warn
    _show_log()
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # they are for us, not for users
    try:
        _run(sys.argv[1:] if argv is None else argv)
        return 0
    except (InputError, ArgumentError) as error:
        return _fail(error, f"error: {' '.join(map(str.strip, _without_worker(str(error)).splitlines()))}", 2)
    except OSError as error:
        return _fail(error, f"error: cannot read or write {error.filename or 'a file'}: {error.strerror or error}", 2)
    except ArithmeticError as error:
        return _fail(error, f"error: {error}", 3)
    except KeyboardInterrupt as error:
        return _fail(error, str(error) or "interrupted; files written before are whole", 130)


def _run(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        _help()
        return
    if argv[0] == "--version":
        print(f"logitpair {__version__}")
        return
    name, *arguments = argv
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        raise InputError(f"no command '{name}'; {f'did you mean {near[0]}?' if near else 'accepted: ' + ', '.join(COMMANDS)}")
    command = importlib.import_module(f"logitpair.cli.commands.{name}")
    parser = ArgumentParser(prog=f"logitpair {name}", description=command.SUMMARY, exit_on_error=False)
    command.add_arguments(parser)
    expand = getattr(command, "expand", list)  # `train` puts its recipe's settings before the overrides
    with recipes.refusals(), _nearest(parser):
        parsed = parser.parse_args(_with_numbers(expand(arguments)))
    command.run(parsed)


@contextlib.contextmanager
def _nearest(parser: ArgumentParser) -> Generator[None]:
    """Name the nearest option where one that nobody knows is refused."""
    try:
        yield
    except ArgumentError as error:
        unknown = re.fullmatch(r"unrecognized arguments: (--[\w.-]+).*", str(error), re.IGNORECASE | re.DOTALL)
        options = [option for action in parser._actions for option in action.option_strings]  # pyright: ignore[reportPrivateUsage]
        near = difflib.get_close_matches(unknown[1], options, n=1) if unknown else []
        if not (unknown and near):
            raise
        raise InputError(f"no option {unknown[1]}; did you mean {near[0]}?") from error


def _help() -> None:
    print("usage: logitpair COMMAND [options]\n\nTrain robust image classifiers and find out what they really withstand.\n")
    for name in COMMANDS:
        print(f"  {name:10} {importlib.import_module(f'logitpair.cli.commands.{name}').SUMMARY}")
    print(f"\n`logitpair COMMAND --help` explains each. {TRACEBACK}=1 shows the whole error.")


def _without_worker(message: str) -> str:
    """The message of an error that a data-loading process raised, without its traceback."""
    caught = re.match(r"Caught \w+ in DataLoader", message)  # InputError or a kind of it
    return message.strip().splitlines()[-1].partition(": ")[2] if caught else message


def _show_log() -> None:
    """Print what the library logs."""
    from logitpair.runtime.progress import console

    handler = logging.Handler()
    handler.emit = lambda record: console.print(record.getMessage(), markup=False)  # type: ignore[method-assign]
    logging.getLogger("logitpair").handlers = [handler]
    logging.getLogger("logitpair").setLevel(logging.INFO)


def _warn(message: Warning | str, *where: object) -> None:
    print(f"logitpair: warning: {message}", file=sys.stderr)


def _with_numbers(arguments: list[str]) -> list[str]:
    """The arguments with ``--objective.attack.threat.eps 8/255`` as the number it means; only settings, which have dotted names."""
    numbers: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=") if argument.startswith("--") else (before, "", argument)
        is_number = option.startswith("--") and "." in option and recipes.FRACTION.fullmatch(value)
        numbers.append(f"{option}=" * bool(equals) + str(recipes.fraction(value)) if is_number else argument)
    return numbers


def _fail(error: BaseException, message: str, code: int) -> int:
    if os.environ.get(TRACEBACK):
        raise error
    print(f"logitpair: {message}", file=sys.stderr)
    return code
