"""Recipes: one YAML each, found by name or path, with smaller versions of themselves. Imports no torch."""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from logitpair.config.old_names import RECIPES, modernized
from logitpair.errors import InputError, first_line

KEYS = ("like", "about", "run", "scales")  # of a recipe
OF_A_RUN = ("recipe", "scale")  # what the config.yaml of a run says that it was begun with
FOLDER = Path(__file__).parents[1] / "recipes"
_Fastest: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Fastest):
    """YAML with ``1e-3`` as a number, dates as text, an ``init_args:`` of nothing as none, and a key that is given twice refused."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (of the class, as in what it inherits from)
        begin: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for begin, pairs in _Fastest.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        given = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in given:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is given twice", key.start_mark)
                given.add(key.value)
        mapping = super().construct_mapping(node, deep)
        if not isinstance(path := mapping.get("class_path", ""), str):
            found = "empty" if path is None else repr(path)
            raise yaml.constructor.ConstructorError(None, None, f"'class_path' is {found}; it names a class", node.start_mark)
        return {key: value for key, value in mapping.items() if (key, value) != ("init_args", None)}


class _Dumper(yaml.SafeDumper):
    """The like, which quotes a text that would be read as a number."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


@dataclass(frozen=True)
class Recipe:
    """A recipe as its file says it."""

    name: str
    about: dict[str, Any]  # what `logitpair recipes` shows: summary, hardware, time, clean, robust
    run: dict[str, Any]  # the settings of a `RunConfig`, as plain values
    scales: dict[str, dict[str, Any]]  # changes to `run` by the scale's name
    scale: str = "paper"  # that `run` is at; another one in the config.yaml of a run

    def at_scale(self, scale: str | None) -> dict[str, Any]:
        """The settings at a scale, refused where there is none of that name; those of ``run`` for None, or its own unchanged one."""
        if scale is None or (scale == self.scale and scale not in self.scales):
            return self.run
        if scale not in self.scales:
            raise InputError(f"--scale: recipe {self.name} has no scale '{scale}'; accepted: {', '.join([self.scale, *self.scales])}")
        return _merge(self.run, self.scales[scale])

    def over(self, base: "Recipe") -> "Recipe":
        """This recipe's changes to another, whose scales come with what they deviate in; all else that is said of it is its own.

        A scale that this one leaves empty is none of its own.
        """
        scales = {scale: _merge(base.scales.get(scale, {}), self.scales.get(scale, {})) for scale in sorted(self.scales | base.scales)}
        scales = {scale: changes for scale, changes in scales.items() if self.scales.get(scale) != {}}
        deviations = base.about.get("deviations", {}) | self.about.get("deviations", {})
        deviations = {scale: words for scale, words in deviations.items() if scale in scales}
        about = self.about | ({"deviations": deviations} if deviations else {})
        return Recipe(self.name, about, _merge(base.run, self.run), scales)


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(recipe: str) -> Recipe:
    """Read a recipe by its name or by the path of a YAML file.

    What it is ``like``, another recipe's name or a path from its own folder, gives the settings that it does not change, and the scales
    with their deviations.
    """
    return _load(recipe, Path(), ())


def _load(recipe: str, folder: Path, likes: tuple[Path, ...]) -> Recipe:
    is_file = recipe.endswith((".yaml", ".yml"))
    path = folder / recipe if is_file else FOLDER / f"{recipe}.yaml"
    if not path.is_file():
        raise _missing(recipe, path, likes[-1] if likes else None)
    content = read_yaml(path)
    like = content.get("like") if isinstance(content, dict) else None
    if not isinstance(content, dict) or ("run" not in content and not like):
        raise InputError(f"recipe: {path} has no mapping `run:`; it is not a recipe")
    is_config = all(isinstance(content.get(key), str) for key in OF_A_RUN)
    if unknown := [str(key) for key in content if key not in (*KEYS, *(OF_A_RUN if is_config else ()))]:
        raise InputError(f"recipe: {path} has '{unknown[0]}' beside {', '.join(KEYS)}; what is trained by goes below `run:`")
    name, scale = (content[key] for key in OF_A_RUN) if is_config else (path.stem, "paper")
    about, scales = _mapping(content, "about", path), _mapping(content, "scales", path)
    about |= {"deviations": _mapping(about, "deviations", path)} if "deviations" in about else {}
    scales = {str(scale): _mapping(scales, scale, path) for scale in scales}
    own = Recipe(name, about, modernized(_mapping(content, "run", path)), modernized(scales), scale)
    if like is None:
        return own
    if not isinstance(like, str) or path.resolve() in likes:
        found = "itself" if isinstance(like, str) else repr(like)
        raise InputError(f"recipe: {path} is like {found}; accepted: the name of another recipe, or its path")
    return own.over(_load(like, path.parent, (*likes, path.resolve())))


def _missing(recipe: str, path: Path, asks: Path | None) -> InputError:
    """The refusal of a recipe that is nowhere, which the file ``asks`` is like, if any."""
    asked = f"{asks} names what it is like, but there is " if asks else ""
    if recipe.endswith((".yaml", ".yml")):
        where = f" from the folder of {asks.name}" if asks else ""
        return InputError(f"recipe: {asked}no file '{path}'; accepted: a path{where}, or a recipe's name")
    near = difflib.get_close_matches(recipe, names(), n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "`logitpair recipes` lists them"
    return InputError(f"recipe: {asked}no recipe '{recipe}'; {f'it is now {RECIPES[recipe]}' if recipe in RECIPES else hint}")


def _mapping(content: dict[Any, Any], key: Any, path: Path) -> dict[Any, Any]:
    """A part of a recipe that is a mapping, or empty or missing."""
    part = content.get(key)
    if not isinstance(part, dict | None):
        raise InputError(f"recipe: '{key}' in {path} is {part!r}; accepted: a mapping")
    return dict(part or {})


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; one that is missing, not YAML, of a key twice or without an end is refused."""
    if not path.is_file():
        raise InputError(f"no file '{path}'")
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)  # noqa: S506  (derived from SafeLoader)
        json.dumps(content, default=str, skipkeys=True)  # does not end where a part is within itself
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}, " if error.problem_mark else ""
        found = "cannot be read" if isinstance(error, yaml.constructor.ConstructorError) else "is not YAML"
        raise InputError(f"{path} {found}: {line}{error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {first_line(error)}") from error
    except (RecursionError, ValueError) as error:
        found = "is nested too deeply" if isinstance(error, RecursionError) else f"cannot be read: {first_line(error)}"
        raise InputError(f"{path} {found}") from error
    return content


def to_yaml(content: Any) -> str:
    """What ``read_yaml`` reads, keys in their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, mapping by mapping; a new ``class_path`` replaces its whole mapping, and so does the short form of one."""
    merged = dict(base)
    for key, value in changes.items():
        before = base.get(key)
        if isinstance(before, str) and isinstance(value, dict) and "init_args" in value:
            before = {"class_path": before}
        merged[key] = value
        if isinstance(value, dict) and isinstance(before, dict) and "class_path" not in value and _is_class(value) == _is_class(before):
            merged[key] = _merge(before, value)
    return merged


def _is_class(mapping: dict[str, Any]) -> bool:
    return not mapping.keys().isdisjoint(("class_path", "init_args"))
