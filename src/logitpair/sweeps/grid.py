"""The grid: which settings vary, over which values, and what each point is called."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from logitpair.errors import InputError


@dataclass(frozen=True)
class Axis:
    """A setting that varies.

    Args:
        setting: its dotted name.
        values: as the command line wrote them, at least two.
    """

    setting: str
    values: tuple[str, ...]


Point = dict[str, str]
"""A value for each axis' setting."""


def read(arguments: Sequence[str]) -> tuple[list[Axis], dict[str, str]]:
    """Split ``--setting VALUE`` arguments into axes, whose value is a list separated by commas, and settings of all runs.

    Raises:
        InputError: for what is no option, an option without a value or given twice, and an axis with empty or repeated values.
    """
    axes: list[Axis] = []
    fixed: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        name, equals, text = waiting.pop(0).partition("=")
        if not name.startswith("--"):
            raise InputError(f"'{name}' is not an option; one recipe comes first, then --option VALUE")
        setting = name.removeprefix("--")
        if not equals and not waiting:
            raise InputError(f"{name} needs a value")
        text = text if equals else waiting.pop(0)
        if setting in fixed or any(axis.setting == setting for axis in axes):
            raise InputError(f"{name} is given twice; list its values behind one: {name} A,B")
        values = split(text)
        if len(values) == 1:
            fixed[setting] = text
        else:
            _check(name, values)
            axes.append(Axis(setting, tuple(values)))
    return axes, fixed


def split(text: str) -> list[str]:
    """``a,[b,c],d`` as ``a``, ``[b,c]`` and ``d``: commas within brackets, braces or double quotes separate nothing."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "[{(") - (letter in "]})")
        if letter == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def points(axes: Sequence[Axis]) -> list[Point]:
    """The product of the axes, the last one varying fastest; without axes the one point that changes nothing."""
    return [
        dict(zip((axis.setting for axis in axes), values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))
    ]


def value(text: str) -> Any:
    """What the command line's text stands for: a number, which may be written ``8/255``, other JSON, or else the text."""
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    numerator, _, denominator = text.partition("/")
    with contextlib.suppress(ValueError, ZeroDivisionError):
        if math.isfinite(found := float(numerator) / float(denominator or 1)):
            return found
    try:
        return json.loads(text)
    except ValueError:
        return text


def folder(point: Point, seed: int) -> str:
    """Where the run of a point and a seed goes: ``objective.weight=0.5/seed-1``."""
    return "/".join([*(f"{setting}={_short(text)}" for setting, text in point.items()), f"seed-{seed}"])


def _short(text: str) -> str:
    """A value as part of a folder's name."""
    found = value(text)
    return f"{found:.10g}" if isinstance(found, int | float) else re.sub(r"[^\w.+=,-]+", "-", text)


def _check(name: str, values: list[str]) -> None:
    if not all(values):
        raise InputError(f"{name}: '{','.join(values)}' has an empty value between its commas")
    for i, text in enumerate(values):
        same = [other for other in values[:i] if value(other) == value(text) or _short(other) == _short(text)]
        if same:
            raise InputError(f"{name}: {same[0]} and {text} are the same value; give each once")
