"""An attack or an objective as plain values, in the form a recipe writes it."""

import dataclasses
import functools
import hashlib
import sys
import types
from typing import Any

import numpy as np
from torch import Tensor, nn

from logitpair.storage.model_fingerprint import NAMED, code_of, fingerprint


def describe(thing: Any) -> Any:
    """``thing`` as numbers, strings, lists and ``{class_path, init_args}`` mappings; functions by their import path.

    Whatever has no path of its own, such as a lambda, an array, a network or a callable object, has that of its kind and a part of a hash
    of its content: code, weights, and attributes that are numbers, text or arrays; what other attributes hold within is not seen.
    """
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
    if not callable(thing) and not isinstance(thing, Tensor | np.ndarray):
        return repr(thing)
    path = public_path(thing)
    is_path_of_one = isinstance(thing, (*NAMED, types.FunctionType)) and "<" not in path
    return path if is_path_of_one else f"{path}#{hashlib.sha256(repr(_content(thing)).encode()).hexdigest()[:8]}"


def _content(thing: Any) -> Any:
    """What tells an array, a network, a function, a method or a callable object from others of its kind, in plain values."""
    owner = getattr(thing, "__self__", thing)  # of a method
    if isinstance(owner, nn.Module):
        return fingerprint(owner)
    return code_of(thing) if isinstance(thing, types.FunctionType) else code_of(thing, getattr(owner, "__dict__", None))


def public_path(thing: Any) -> str:
    """The shortest path that ``thing`` is imported by: ``logitpair.attacks.PGD``, whichever file of its package defines it."""
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    module = getattr(kind, "__module__", None) or "builtins"  # which methods written in C do not tell
    package = module.rpartition(".")[0]
    exported = package != "logitpair" and getattr(sys.modules.get(package), kind.__qualname__, None) is kind
    return f"{package if exported else module}.{kind.__qualname__}"
