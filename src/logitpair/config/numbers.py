"""Numbers as people write them, in recipes and on the command line: ``0.3``, ``1e-3``, ``8/255``."""

import re
from collections.abc import Sequence

from logitpair.errors import InputError

FRACTION = re.compile(r"-?\d+(?:\.\d+)?/\d+(?:\.\d+)?")


def parse_number(text: str, option: str = "") -> float:
    """The number that a text means; an error names the option that it was given to."""
    numerator, slash, denominator = text.partition("/")
    try:
        return float(numerator) / float(denominator) if slash else float(text)
    except (ValueError, ZeroDivisionError) as error:
        why = "is no number such as 0.3 or 8/255" if isinstance(error, ValueError) else "divides by zero"
        raise InputError(f"{option and f'{option}: '}'{text}' {why}") from error


def with_numbers(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``--objective.attack.threat.eps 8/255`` as the number it means; only settings, which have dotted names."""
    numbers: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=") if argument.startswith("--") else (before, "", argument)
        is_number = option.startswith("--") and "." in option and FRACTION.fullmatch(value)
        numbers.append(f"{option}=" * bool(equals) + str(parse_number(value)) if is_number else argument)
    return numbers
