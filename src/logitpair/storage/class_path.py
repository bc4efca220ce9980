"""An attack or an objective as plain values, in the form a recipe writes it."""

import dataclasses
import functools
import hashlib
import sys
import types
from typing import Any

import numpy as np
from torch import Tensor

from logitpair.storage.model_fingerprint import code_of


def describe(thing: Any) -> Any:
    """``thing`` as numbers, strings, lists and ``{class_path, init_args}`` mappings; functions by their import path."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        values = {f.name: describe(getattr(thing, f.name)) for f in dataclasses.fields(thing) if f.init}
        return {"class_path": public_path(type(thing)), "init_args": values}
    if isinstance(thing, functools.partial):
        return {"class_path": describe(thing.func), "init_args": describe(thing.keywords), "args": describe(thing.args)}
    if isinstance(thing, dict):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [describe(value) for value in thing]
    if isinstance(thing, np.generic | Tensor) and thing.ndim == 0:  # before Python's numbers, of which numpy's float64 is one too
        return thing.item()
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if not callable(thing):
        return repr(thing)
    if "<" in public_path(thing) and isinstance(thing, types.FunctionType):  # a lambda must not be taken for another one
        return f"{public_path(thing)}#{hashlib.sha256(repr(code_of(thing)).encode()).hexdigest()[:8]}"
    return public_path(thing)


def public_path(thing: Any) -> str:
    """The shortest path that ``thing`` is imported by: ``logitpair.attacks.PGD``, whichever file of its package defines it."""
    name = getattr(thing, "__qualname__", type(thing).__name__)
    package = thing.__module__.rpartition(".")[0]
    exported = package != "logitpair" and getattr(sys.modules.get(package), name, None) is thing
    return f"{package if exported else thing.__module__}.{name}"
