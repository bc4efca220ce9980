"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from jsonargparse import ArgumentParser, Namespace

from logitpair.errors import InputError
from logitpair.validate import at_least


def add_device(parser: ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument("--device", type=str, default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:1")


def add_data_dir(parser: ArgumentParser) -> None:
    """``--data-dir``."""
    parser.add_argument("--data-dir", type=Path | None, default=None, help="folder of the data set, instead of the recipe's")


def device_of(name: str) -> torch.device:
    """The device that ``--device`` names.

    Raises:
        InputError: for a device that does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device: no '{name}' here; accepted: auto, cpu, and cuda where there is one") from error
    return device


def check_folder_name(option: str, name: str) -> None:
    """Refuse what is not the name of one folder.

    Raises:
        InputError: naming the option.
    """
    if not name or Path(name).name != name or name == "..":
        raise InputError(f"{option}: '{name}' is not the name of a folder")


def check_numbers(arguments: Namespace, options: Iterable[str], least: int) -> None:
    """Refuse options that are given and below ``least``.

    Raises:
        InputError: naming the first.
    """
    for option in options:
        value = getattr(arguments, option)
        if value is not None:
            at_least(f"--{option.replace('_', '-')}", value, least)


def check_folder(path: Path | None) -> None:
    """Refuse an ``--out`` that is to be a folder and is a file.

    Raises:
        InputError: with the path.
    """
    if path is not None and path.exists() and not path.is_dir():
        raise InputError(f"--out: '{path}' is a file; accepted: a folder")


def refuse_given(arguments: Namespace, options: Iterable[str], why: str) -> None:
    """Refuse options that would be ignored.

    Raises:
        InputError: naming the first that is given, and ``why`` it must not be.
    """
    for option in options:
        given = getattr(arguments, option)
        if given is not None and given is not False:  # 0 is given
            raise InputError(f"--{option.replace('_', '-')} {why}")
