"""The grid: which settings vary, over which values, and what each point is called."""

import contextlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from logitpair.config.numbers import parse_number
from logitpair.errors import InputError

Axes = Mapping[str, Sequence[str]]
"""The values of each setting that varies, by its dotted name and as the command line wrote them."""
Point = dict[str, str]
"""A value for each axis' setting."""


def read(arguments: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Split ``--setting VALUE`` arguments into axes, whose value is a list separated by commas, and settings of all runs."""
    axes: dict[str, list[str]] = {}
    fixed: dict[str, str] = {}
    remaining = list(arguments)
    while remaining:
        option, equals, text = remaining.pop(0).partition("=")
        if not option.startswith("--"):
            raise InputError(f"'{option}' is not an option; one recipe comes first, then --option VALUE")
        if not equals and not remaining:
            raise InputError(f"{option} needs a value")
        text = text if equals else remaining.pop(0)
        setting = option.removeprefix("--")
        if setting in fixed or setting in axes:
            raise InputError(f"{option} is given twice; list its values behind one: {option} A,B")
        values = split(text)
        if len(values) == 1:
            fixed[setting] = text
        else:
            _check(option, values)
            axes[setting] = values
    return axes, fixed


def split(text: str) -> list[str]:
    """``a,[b,c],d`` as ``a``, ``[b,c]`` and ``d``: commas within brackets, braces or double quotes separate nothing."""
    values, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "[{(") - (letter in "]})")
        if letter == "," and not depth and not quoted:
            values.append("")
        else:
            values[-1] += letter
    return [text.strip() for text in values]


def points(axes: Axes) -> list[Point]:
    """The product of the axes, the last one varying fastest; without axes the one point that changes nothing."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def value(text: str) -> Any:
    """What the command line's text means: a number, which may be written ``8/255``, other JSON, or else the text."""
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    with contextlib.suppress(InputError):
        if math.isfinite(number := parse_number(text)):
            return number
    try:
        return json.loads(text)
    except ValueError:
        return text


def folder(point: Point, seed: int) -> str:
    """Where the run of a point and a seed goes: ``objective.weight=0.5/seed-1``."""
    return "/".join([*(f"{setting}={_for_path(text)}" for setting, text in point.items()), f"seed-{seed}"])


def _for_path(text: str) -> str:
    number = value(text)
    return f"{number:.10g}" if isinstance(number, int | float) else re.sub(r"[^\w.+=,-]+", "-", text)


def _check(option: str, values: list[str]) -> None:
    if not all(values):
        raise InputError(f"{option}: '{','.join(values)}' has an empty value between its commas")
    for first, second in itertools.combinations(values, 2):
        if value(first) == value(second) or _for_path(first) == _for_path(second):
            raise InputError(f"{option}: {first} and {second} are the same value; give each once")
