"""From the plain values of a recipe, and what overrides them, to a ``RunConfig``."""

import contextlib
import functools
import json
import pkgutil
from argparse import SUPPRESS
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from torch import nn

from logitpair.config.refusals import parse_known, refusals, whole_names
from logitpair.config.run_config import ElasticConfig, EvaluationSettings, FineTuning, RunConfig, Validation
from logitpair.errors import InputError

GROUPS = {"validation": Validation, "evaluation": EvaluationSettings, "fine_tuning": FineTuning, "elastic": ElasticConfig}
"""Settings that are mappings of settings, without a class of their own to choose."""


@dataclass(frozen=True)
class Settings:
    """What to train by, and the same as plain values with every default written out, as ``config.yaml`` holds them."""

    config: RunConfig
    values: dict[str, Any]


def add_settings(parser: ArgumentParser) -> None:
    """Give the parser every setting of a run, each with its documentation; ``--config`` takes a recipe's ``run`` as JSON."""
    parser.add_argument("--config", action="config", help=SUPPRESS)
    parser.add_class_arguments(RunConfig)


def resolve(run: Mapping[str, Any], overrides: Sequence[str] = (), *, data_dir: Path | None = None) -> Settings:
    """The settings of a recipe or a ``config.yaml`` with ``--dotted.override VALUE`` arguments, type-checked and built."""
    check_names(run)
    with refusals():
        parsed = parse_known(_settings_parser(), ["--config", json.dumps(run), *overrides])
    return build(parsed, data_dir=data_dir)


def build(parsed: Namespace, *, data_dir: Path | None = None) -> Settings:
    """Settings from what ``add_settings``'s parser parsed, with the data in ``data_dir`` if given; other arguments are left out."""
    own = Namespace({key: parsed[key] for key in RunConfig.__dataclass_fields__})
    if data_dir is not None:
        own["data.init_args.root"] = data_dir
    parser = _settings_parser()
    with whole_names(flatten(own.as_dict())), refusals():
        parser.validate(own, skip_unset=False)  # parsing takes an empty value for one that is not given
        built = parser.instantiate(own).as_dict()
        if isinstance(built["model"], nn.Module):  # of a function, such as torchvision.models.resnet18, which is to be called for each run
            built["model"] = functools.partial(pkgutil.resolve_name(own.model.class_path), **own.model.init_args)
        config = RunConfig(**built)
    return Settings(config, json.loads(parser.dump(own, format="json", skip_unset=False)))


def check_names(run: Mapping[str, Any]) -> None:
    """Refuse a setting that there is none of, with those that there are, and a group of settings that is none."""
    for prefix, settings, kind in [("", run, RunConfig), *((f"{name}.", run[name], kind) for name, kind in GROUPS.items() if name in run)]:
        accepted = [field.name for field in fields(kind)]
        if not isinstance(settings, Mapping):
            raise InputError(f"{prefix[:-1]}: expected a mapping of {', '.join(accepted)}, not '{settings}'")
        if unknown := [name for name in settings if name not in accepted]:
            raise InputError(f"{prefix}{unknown[0]}: there is no such setting; accepted: {', '.join(accepted)}")


@contextlib.contextmanager
def naming_recipe(recipe: str, run: Mapping[str, Any]) -> Generator[None]:
    """A block in which the refusal of a setting names the recipe, unless what overrides its ``run`` is refused.

    Settings that there are none of are refused before it.
    """
    try:
        check_names(run)  # the parser of a command takes the names of the command's own options too
        yield
    except InputError as error:
        try:
            resolve(run)
        except InputError as own:
            if str(own) == str(error):
                raise InputError(f"recipe: {recipe}: {error}") from error
        raise


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one of dotted keys; of no settings, none."""
    if not isinstance(tree, dict) or (prefix and not tree):
        return {prefix.removesuffix("."): tree}
    return {key: value for name, part in tree.items() for key, value in flatten(part, f"{prefix}{name}.").items()}


@functools.cache
def _settings_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_settings(parser)
    return parser
