"""Numbers as people write them, in recipes and on the command line: ``0.3``, ``1e-3``, ``8/255``."""

import re

import yaml
from jsonargparse._loaders_dumpers import get_yaml_default_loader

from logitpair.errors import InputError

FRACTION = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+) */ *(?:\d+\.?|\d*\.\d+)$")


def parse_number(text: str, option: str = "") -> float:
    """The number that a text means; an error names the option that it was given to."""
    numerator, slash, denominator = text.partition("/")
    try:
        return float(numerator) / float(denominator) if slash else float(text)
    except (ValueError, ZeroDivisionError) as error:
        why = "is no number such as 0.3 or 8/255" if isinstance(error, ValueError) else "divides by zero"
        raise InputError(f"{option and f'{option}: '}'{text}' {why}") from error


def _fraction(_: object, node: yaml.ScalarNode) -> float:
    return parse_number(node.value)


# jsonargparse reads texts by this where a setting is a number, and there alone: a folder may be called 2024/11
_Numbers = get_yaml_default_loader()
_Numbers.add_implicit_resolver("!fraction", FRACTION, list("-+.0123456789"))
_Numbers.add_constructor("!fraction", _fraction)
