"""Attacks as a command line or a YAML file names them."""

from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, cast

from jsonargparse import ArgumentParser

from logitpair.attacks import PGD, Attack, grid, paper_suite, parse
from logitpair.config.recipes import read_yaml
from logitpair.config.refusals import refusals
from logitpair.errors import InputError

SETS: dict[str, Callable[..., dict[str, PGD]]] = {"paper_suite": paper_suite, "grid": grid}


def read_attacks(text: str | Path, default: Attack | None = None) -> dict[str, Attack]:
    """The attacks that ``--attacks`` names, in the order given; the forms are those of ``docs/reference/attacks.md``.

    Text is shorthands with commas between them, among them ``paper``, with the sizes and the ``early_stop`` of the ``default``, or the path
    of a YAML file. The file holds a mapping of attacks by name, or a list of mappings and shorthands.
    """
    is_file = Path(text).suffix in (".yaml", ".yml")
    try:
        content = read_yaml(Path(text)) if is_file else str(text).split(",")
        attacks: dict[str, Attack] = {}
        for entry in content if isinstance(content, list) else [content]:
            for name, attack in _attacks(entry, default):
                if name in attacks:
                    raise InputError(f"'{name}' names two attacks; accepted: every name once")
                attacks[name] = attack
        if not attacks:
            raise InputError("names no attack")
        return attacks
    except InputError as error:
        names_the_file = not is_file or str(text) in str(error)
        raise InputError(f"--attacks: {error}" if names_the_file else f"--attacks: {text}: {error}") from error


def _attacks(entry: Any, default: Attack | None) -> Iterator[tuple[str, Attack]]:
    if isinstance(entry, str) and entry.strip() == "paper":
        if not isinstance(default, PGD):
            found = "there is none" if default is None else f"{type(default).__name__} has no step_size and steps"
            raise InputError(f"'paper' takes its sizes from the recipe's first attack, but {found}; accepted: `paper_suite` in a YAML file")
        sizes = {name: getattr(default, name) for name in ("step_size", "steps", "early_stop")}
        yield from paper_suite(eps=default.threat.eps, norm=type(default.threat), **sizes).items()
    elif isinstance(entry, str):
        try:
            yield entry.strip(), parse(entry.strip())
        except InputError as error:
            raise InputError(f"{error}; or paper, or a YAML file of attacks") from error
    elif isinstance(entry, dict):
        for name, value in cast(dict[Any, Any], entry).items():
            try:
                yield from _named(str(name), value).items()
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
    else:
        raise InputError(f"'{entry}' is no attack; accepted: a mapping of attacks by name, or a list of mappings and shorthands")


def _named(name: str, value: object) -> Mapping[str, Attack]:
    """The attack of this name, or the attacks of a set."""
    if isinstance(value, str) and name not in SETS:
        return {name: parse(value)}
    if not isinstance(value, dict):
        raise InputError(f"'{value}' is no attack; accepted: {'its arguments' if name in SETS else '{class_path, init_args}, a shorthand'}")
    parser = ArgumentParser(exit_on_error=False)
    with refusals():
        if name in SETS:
            unknown = [key for key in value if key not in signature(SETS[name]).parameters]
            if unknown:
                raise InputError(f"no '{unknown[0]}'; accepted: {', '.join(signature(SETS[name]).parameters)}")
            parser.add_function_arguments(SETS[name])
            return SETS[name](**parser.instantiate(parser.parse_object(value)))
        parser.add_argument("--attack", type=Attack)
        return {name: parser.instantiate(parser.parse_object({"attack": value})).attack}
