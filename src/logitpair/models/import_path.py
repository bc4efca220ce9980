"""A network by its import path: a class, a function that builds one, or the network itself."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from torch import nn

from logitpair.errors import InputError, raised
from logitpair.validate import type_name

ACCEPTED = "timm:NAME, a TorchScript file, or an import path such as my_package.my_module.MyNet or my_module:make_net"


def find(path: str) -> Any:
    """What ``package.module.Name`` or ``module:name`` leads to; importing it runs the code found there."""
    module, colon, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not (module and colon and name) or not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise InputError(f"--model: '{path}' is neither a file nor an import path; accepted: {ACCEPTED}")
    found = _import(module, path)
    for part in name.split("."):
        if not hasattr(found, part):
            callables = [key for key, value in getattr(found, "__dict__", {}).items() if callable(value) and not key.startswith("_")]
            has = ", ".join(callables[:5]) or "no class and no function"
            raise InputError(f"--model: '{module}' has no '{name}'; it has {has}")
        found = getattr(found, part)
    return found


def build(found: Any, path: str) -> nn.Module:
    """The network that ``find`` found by the path: itself, or what the class or function returns when it is called without arguments."""
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise InputError(f"--model: '{path}' is {type_name(found)}; accepted: a class or a function that gives an nn.Module")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        wanted = str(error).rpartition("argument: ")[2]
        raise InputError(f"--model: '{path}' needs an argument {wanted}; accepted: a class or function that needs none") from error
    except ValueError:  # written in C, without a signature
        pass
    try:
        network = found()
    except Exception as error:
        raise InputError(f"--model: '{path}()' {raised(error)}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"--model: '{path}()' returned {type_name(network)}; accepted: an nn.Module from images to logits")
    return network


def _import(module: str, path: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as ``python -m`` does
    importlib.invalidate_caches()  # the file may be newer than what Python knows of its folder
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the module is the user's and may raise anything; a script may end itself
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            raise InputError(f"--model: '{path}': no module '{missing}' in '{here}' or among those installed") from error
        raise InputError(f"--model: importing '{module}' {raised(error)}") from error
