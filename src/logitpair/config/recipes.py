"""Recipes: one YAML each, found by name or path, merged with a scale and with overrides into a ``RunConfig``."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import json
import pkgutil
import re
from argparse import SUPPRESS, ArgumentError
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from jsonargparse import ArgumentParser, Namespace

from logitpair.config.run_config import RunConfig
from logitpair.errors import InputError, first_line

FOLDER = Path(__file__).parents[1] / "recipes"
FRACTION = re.compile(r"-?\d+(?:\.\d+)?/\d+(?:\.\d+)?")
_LIST = "a list such as [a,b]"
_ACCEPTED = {"float": "a number", "int": "a whole number", "bool": "true or false", "tuple": _LIST, "list": _LIST, "Sequence": _LIST}


class _Loader(yaml.SafeLoader):
    """YAML with ``8/255`` and ``1e-3`` as numbers."""


def fraction(text: str) -> float:
    """The value of ``8/255``.

    Raises:
        InputError: for a zero denominator.
    """
    numerator, denominator = map(float, text.split("/"))
    if not denominator:
        raise InputError(f"'{text}' divides by zero")
    return numerator / denominator


_Loader.add_implicit_resolver("!fraction", re.compile(FRACTION.pattern + "$"), list("-0123456789"))
_Loader.add_constructor("!fraction", lambda loader, node: fraction(node.value))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


@dataclass(frozen=True)
class Recipe:
    """A recipe as its file says it.

    Args:
        name: what it is called on the command line.
        about: what ``logitpair recipes`` shows: ``summary``, ``hardware``, ``time``, ``clean``, ``robust``.
        run: the settings of a ``RunConfig``, as plain values.
        scales: changes to ``run`` by the scale's name.
    """

    name: str
    about: dict[str, Any]
    run: dict[str, Any]
    scales: dict[str, dict[str, Any]]

    def at_scale(self, scale: str | None) -> dict[str, Any]:
        """The settings at a scale; those of ``run`` where it is None or ``paper`` and nothing else is said.

        Raises:
            InputError: for a scale the recipe does not have.
        """
        if scale is None or (scale == "paper" and scale not in self.scales):
            return self.run
        if scale not in self.scales:
            raise InputError(f"--scale: recipe {self.name} has no scale '{scale}'; accepted: {', '.join(['paper', *self.scales])}")
        return _merge(self.run, self.scales[scale])


@dataclass(frozen=True)
class Settings:
    """A resolved run: the ``config`` to train by and the ``text`` of its config.yaml, every value written out."""

    config: RunConfig
    text: str


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(recipe: str) -> Recipe:
    """Read a recipe by its name or by the path of a YAML file.

    Raises:
        InputError: for an unknown name (with the nearest ones) or a file that is not a recipe.
    """
    is_file = recipe.endswith((".yaml", ".yml"))
    path = Path(recipe) if is_file else FOLDER / f"{recipe}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(recipe, names(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "`logitpair recipes` lists them"
        raise InputError(f"recipe: no {'file' if is_file else 'recipe'} '{recipe}'; {hint}")
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("run"), dict):
        raise InputError(f"recipe: {path} has no mapping `run:`; it is not a recipe")
    name = content.get("recipe", path.stem)  # the config.yaml of a run knows what it was begun with
    return Recipe(name, content.get("about", {}), content["run"], content.get("scales", {}))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, fractions as numbers.

    Raises:
        InputError: if it is missing or not YAML.
    """
    if not path.is_file():
        raise InputError(f"no file '{path}'")
    try:
        return yaml.load(path.read_text(), _Loader)  # noqa: S506  (derived from SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        told = first_line(error)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            told = f"line {error.problem_mark.line + 1}, {error.problem}"
        raise InputError(f"{path} is not YAML: {told}") from error


def add_settings(parser: ArgumentParser) -> None:
    """Give the parser every setting of a run, each with its documentation; ``--config`` takes a recipe's ``run`` as JSON."""
    parser.add_argument("--config", action="config", help=SUPPRESS)
    parser.add_class_arguments(RunConfig)


def with_root(run: dict[str, Any], root: Path | None) -> dict[str, Any]:
    """The settings with the data set's folder replaced."""
    if root is None:
        return run
    data = run["data"]
    return run | {"data": data | {"init_args": {**data.get("init_args", {}), "root": str(root)}}}


def resolve(run: dict[str, Any], overrides: Sequence[str] = ()) -> Settings:
    """Type-check the settings, apply ``--dotted.override VALUE`` arguments, and build the config.

    Raises:
        InputError: naming the setting, the value and what is accepted.
    """
    parser = ArgumentParser(exit_on_error=False)
    add_settings(parser)
    with refusals():
        return build(parser.parse_args(["--config", json.dumps(run), *overrides]))


def build(parsed: Namespace) -> Settings:
    """Settings from what ``add_settings``'s parser parsed; other arguments in ``parsed`` are left out.

    Raises:
        InputError: for values that a class refuses.
    """
    parser = ArgumentParser(exit_on_error=False)
    add_settings(parser)
    own = Namespace({key: parsed[key] for key in RunConfig.__dataclass_fields__})
    with refusals():
        config = RunConfig(**parser.instantiate(own).as_dict())
    return Settings(config, parser.dump(own, skip_unset=False))


@contextlib.contextmanager
def refusals() -> Generator[None]:
    """Whatever jsonargparse makes of settings that it or a class refuses, as one line.

    Raises:
        InputError: the one that a class raised, however deep jsonargparse buried it, or else what ``one_line`` makes of it.
    """
    try:
        yield
    except InputError:
        raise
    except (ArgumentError, TypeError, ValueError, RuntimeError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        told = str(cause) if cause is not None else one_line(error)
        raise InputError(f"cannot be built from these settings: {told}" if isinstance(error, RuntimeError) else told) from error


def one_line(error: BaseException) -> str:
    """The innermost reason of jsonargparse's nested error, behind the setting's whole dotted name."""
    whole, reason, cause = str(error), error, error.__cause__
    while cause is not None and _begin(cause) in whole:
        reason, cause = cause, cause.__cause__
    keys = re.findall(r'Parser key "([\w.]+)":', whole.partition(_begin(reason))[0])
    value = re.search(r"\. Got value: (.*)", str(reason))
    found = f", not '{value[1]}'" if value and "Namespace(" not in value[1] else ""
    text = re.sub(
        r"^Expected an? (?:<class '(?:\w+\.)*(\w+)'>)", lambda kind: f"expected {_ACCEPTED.get(kind[1], f'a {kind[1]}')}", _begin(reason)
    )
    text = re.sub(r"^Expected a (?:typing\.)?Literal\[(.*)\]", r"expected \1", text)
    text = re.sub(r"^Expected a dot import path string: (.*)", r"expected an import path such as package.module.Name, not '\1'", text)
    if text.startswith("Option ") and (classes := re.findall(r"Problem with given class_path '([\w.]+)'", whole)):
        with contextlib.suppress(ImportError, AttributeError, ValueError):
            text += f" by {classes[-1]}; accepted: {', '.join(inspect.signature(pkgutil.resolve_name(classes[-1])).parameters)}"
    return ": ".join([*filter(None, [".".join(keys)]), text + found])


def _begin(error: BaseException) -> str:
    """The first line of an error, without the value that jsonargparse appends."""
    return str(error).partition("\n")[0].partition(". Got value: ")[0]


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, mapping by mapping; a new ``class_path`` replaces its whole mapping."""
    merged = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and "class_path" not in value:
            value = _merge(cast(dict[str, Any], old), cast(dict[str, Any], value))
        merged[key] = value
    return merged
