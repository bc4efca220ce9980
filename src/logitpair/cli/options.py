"""The options that several commands share, each defined once, and what is refused of their values. Imports no torch by itself."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace

from logitpair.config import recipes
from logitpair.config.numbers import parse_number
from logitpair.config.refusals import nearest
from logitpair.errors import InputError

if TYPE_CHECKING:
    import torch

OPTIONS: dict[str, dict[str, Any]] = {
    "attacks": {"type": str | None, "default": None},
    "batch-size": {
        "type": int | Literal["auto"] | None,
        "default": None,
        "metavar": "N|auto",
        "help": "images attacked together, and half of them once memory is too small; auto: 1024 or more on GPUs (no result depends on it)",
    },
    "checkpoint": {"type": str | None, "default": None},
    "data-dir": {"type": Path | None, "default": None, "help": "folder of the data set, instead of the recipe's"},
    "device": {"type": str, "default": "auto", "help": "auto (a GPU where there is one), cpu, cuda or cuda:1"},
    "engine": {
        "type": str | None,
        "default": None,
        "metavar": "auto|eager",
        "help": "eager: an attack's operations are all PyTorch's; auto (default): by quicker forms where there are, equal but for rounding",
    },
    "eps": {"type": str | None, "default": None, "help": "radius in [0, 1] pixel scale, also 8/255 (default: the recipe's)"},
    "examples": {"type": int | None, "default": None, "help": "the first N test images only"},
    "fail-on": {
        "type": str | None,
        "default": None,
        "metavar": "VERDICTS",
        "help": "end with exit code 5 if the verdict is overestimated, 6 if it is inconclusive: one of them, or both with a comma",
    },
    "fail-under": {"type": str | None, "default": None, "metavar": "FRACTION"},
    "jobs": {"type": int | None, "default": None},
    "json": {"action": "store_true", "help": "print the content of results.json on standard output, and all else on standard error"},
    "junit": {"type": Path | None, "default": None, "metavar": "FILE"},
    "name": {"type": str},
    "norm": {"type": str | None, "default": None, "help": "of the radius: linf or l2 (default: the recipe's, or linf)"},
    "out": {"type": Path | None, "default": None},
    "processes": {
        "type": int | Literal["auto"] | None,
        "default": None,
        "metavar": "N|auto",
        "help": "on a CPU: processes that share the images; auto (default): up to one a core for a small network with much to do",
    },
    "scale": {"type": str | None, "default": None, "help": "a smaller version of the recipe, where it has one: smoke, cpu"},
    "seed": {"type": int, "default": 0, "help": "of the attacks' randomness"},
    "tracker": {
        "action": "append",
        "type": str,
        "metavar": "NAME",
        "help": "wandb, mlflow or trackio, which are told what is measured; repeatable, or with commas (docs/how-to/training.md)",
    },
    "source": {"action": "append", "type": str, "metavar": "NAME=RUN", "help": "another run, whose images are tried too; repeatable"},
}


def add_options(parser: ArgumentParser, *names: str, **changes: Any) -> None:
    """Add options by name, with ``changes`` to what ``OPTIONS`` says of them, such as another ``help`` or ``default``."""
    for name in names:
        parser.add_argument(f"--{name}", **{**OPTIONS[name], **changes})


def add_recipe(parser: ArgumentParser) -> None:
    """``RECIPE``, ``--data-dir`` and ``--scale``."""
    parser.add_argument("recipe", type=str, help="name (see `logitpair recipes`) or YAML file; it comes first")
    add_options(parser, "data-dir", "scale")


def add_running(parser: ArgumentParser, seeds: str) -> None:
    """How many trainings there are, as ``seeds`` explains, and how many side by side."""
    parser.add_argument("--seeds", type=int, default=1, help=seeds)
    add_options(
        parser,
        "jobs",
        help="trainings side by side, each with an equal share of the CPU threads and with one GPU where there are any; "
        "one a GPU by default, or one on the CPU",
    )
    add_options(parser, "device")


def recipe_first(arguments: list[str], command: str, usage: str = "[--option VALUE]") -> list[str]:
    """The arguments with the recipe's settings, at its scale, before those that override them, so that ``--help`` sees them too."""
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"the recipe comes first: logitpair {command} RECIPE {usage}; `logitpair recipes` lists them")
    scales = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scales.add_argument("--scale")
    scale = scales.parse_known_args(arguments[1:])[0].scale
    return [arguments[0], "--config", json.dumps(recipes.load(arguments[0]).at_scale(scale)), *arguments[1:]]


def device_of(name: str) -> torch.device:
    """The device that ``--device`` names, refused where it does not exist."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device).tolist()  # meta has no values
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device: no '{name}' here; accepted: auto, cpu, and cuda where there is one") from error
    return device


def use_engine(name: str | None) -> None:
    """Run attacks as ``--engine`` says, in this process and in those that it starts; None leaves it to the environment."""
    from logitpair.attacks.engine import ENGINE

    check_choice("engine", name, ("auto", "eager"))
    if name is not None:
        os.environ[ENGINE] = name


def check_options(arguments: Namespace) -> None:
    """Refuse values of a task's options that no command accepts."""
    ones = ("examples", "batch_size", "processes", "repeats", "seeds", "jobs")
    for option, least in (*((option, 1) for option in ones), ("branches", 2), ("seed", 0)):
        value = arguments.get(option)
        if isinstance(value, int) and value < least:
            raise InputError(f"{spelled(option)} must be at least {least}, not {value}")
    for option in ("budget", "minutes"):
        value = arguments.get(option)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{spelled(option)} must be above 0, not {value:g}")
    check_choice("checkpoint", arguments.get("checkpoint"), ("last", "best"))
    check_choice("norm", arguments.get("norm"), ("linf", "l2"))
    name = arguments.get("name")
    if name is not None and (not name or Path(name).name != name or name == ".."):
        raise InputError(f"--name: '{name}' is not the name of a folder")


def parse_radius(text: str | None) -> float | None:
    """The radius that ``--eps`` names; None where it is not given."""
    eps = None if text is None else parse_number(text, option="--eps")
    if eps is not None and not 0 < eps < math.inf:
        raise InputError(f"--eps: '{text}' is no radius; accepted: above 0 and at most 1, or any in the L2 norm")
    return eps


def check_choice(option: str, value: str | None, accepted: Sequence[str]) -> None:
    """Refuse a value that is given and is none of those accepted."""
    if value is not None and value not in accepted:
        raise InputError(f"{spelled(option)}: '{value}' is not accepted; accepted: {', '.join(accepted)}")


def check_folder(path: Path | None, option: str = "--out") -> None:
    """Refuse a path that is to be a folder and is a file, or a link to nothing."""
    if path is not None and os.path.lexists(path) and not path.is_dir():
        raise InputError(f"{option}: '{path}' is {'a file' if path.exists() else 'a link to nothing'}; accepted: a folder")


def check_file(option: str, path: Path | None, example: str) -> None:
    """Refuse a path that is to be a file like the ``example`` and is something else, or lies where no file can be written."""
    if path is None:
        return
    if path.exists() and not path.is_file():
        accepted = f"a folder; accepted: a file, such as {path / example}" if path.is_dir() else "no file; accepted: a file"
        raise InputError(f"{option}: '{path}' is {accepted}")
    ending = Path(example).suffix
    if path.suffix.lower() != ending:  # a slip would write over results, a checkpoint or settings
        raise InputError(f"{option}: '{path}' does not end in {ending}; accepted: a file such as {path.with_name(example)}")
    check_writable(path.parent, option)


def check_writable(folder: Path, option: str = "--out") -> None:
    """Refuse a folder that nothing can be written into, or that cannot be made where it is to be."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise InputError(f"{option}: '{folder}' cannot be written, since '{there}' is {'read-only' if there.is_dir() else 'no folder'}")


def random_images(shape: str, images: int) -> torch.Tensor:
    """So many images of random pixels, of the shape that ``--shape`` gives."""
    import torch

    size = shape.split("x")
    if len(size) != 3 or not all(part.isdecimal() and int(part) for part in size):
        raise InputError(f"--shape: '{shape}' is none; accepted: channels x height x width, such as 3x299x299")
    return torch.rand((images, *map(int, size)), generator=torch.Generator().manual_seed(0))


def refuse_given(arguments: Namespace, options: Iterable[str], why: str) -> None:
    """Refuse options that would be ignored."""
    for option in options:
        value = arguments.get(option)
        if value is not None and value is not False:  # 0 is given
            raise InputError(f"{spelled(option)} {why}")


def spelled(option: str) -> str:
    """An option as the command line writes it."""
    return f"--{option.replace('_', '-')}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to say of a name that nobody knows."""
    known = list(known)
    near = nearest(name, known)
    return f"did you mean {near}?" if near else f"accepted: {', '.join(known)}"
