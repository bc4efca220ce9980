"""What distinguishes one network from another, the same in every process: weights, settings, and the code that runs."""

import dataclasses
import enum
import functools
import hashlib
import types
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, complex, str, bytes, type(None), range, slice, np.generic, torch.dtype, torch.layout, torch.memory_format)
NAMED = (type, types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, np.ufunc)
TORCH_OWN = frozenset(vars(nn.Module()))  # what torch keeps in every module
COMPILED_ID = "_torchdynamo_wrapper_id"  # an address that torch.compile notes
HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def fingerprint(model: nn.Module) -> str:
    """A SHA-256 of the model: weights, buffers, its modules' settings (their attributes), and the code of their ``forward``."""
    return _digest(weights_of(model).encode(), *(repr(module).encode() for module in _modules(model, ())))


def weights_of(model: nn.Module) -> str:
    """A SHA-256 of the model's parameters and buffers, which no version of Python or PyTorch changes."""
    # by name and not as a state dict, which leaves out buffers such as a normalisation's
    named = sorted([*model.named_parameters(), *model.named_buffers()], key=lambda pair: pair[0])
    return _digest(*(chunk for name, tensor in named for chunk in (name.encode(), *_content(tensor))))


def code_of(function: types.FunctionType) -> Any:
    """What a Python function does, in plain values: its bytecode and constants, defaults, and what it holds from around it."""
    cells = [_captured(cell) for cell in function.__closure__ or ()]
    return _code(function.__code__), _plain((function.__defaults__, function.__kwdefaults__), ()), cells


def _modules(model: nn.Module, above: tuple[int, ...]) -> Iterator[Any]:
    """Each module's name, type, settings, hooks and code."""
    within = (*above, *map(id, model.modules()))
    for name, module in model.named_modules():
        settings = {key: value for key, value in vars(module).items() if key not in TORCH_OWN and key != COMPILED_ID}
        hooks = [list(vars(module).get(kind, {}).values()) for kind in HOOKS]
        forward = getattr(type(module), "forward", None)
        code = code_of(forward) if isinstance(forward, types.FunctionType) else None
        yield name, _path(type(module)), _plain(settings, within), _plain(hooks, within), code


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    """A value as nested tuples whose ``repr`` is the same in every process; what it lies in, ``above`` by ``id``, is not entered again."""
    if isinstance(value, PLAIN) and not isinstance(value, enum.Enum):
        return type(value).__name__, value
    if isinstance(value, NAMED):
        return _path(value)
    if isinstance(value, Tensor) and type(value) in (Tensor, nn.Parameter):
        return _digest(*_content(value))
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tolist()
    if id(value) in above:
        return "above", above.index(id(value))
    above = (*above, id(value))
    match value:
        case enum.Enum():
            return _path(type(value)), value.name
        case PurePath():
            return "path", value.as_posix()
        case types.FunctionType():
            return _path(value), code_of(value)
        case types.MethodType():
            return _path(value.__func__), _plain(value.__func__, above), _plain(value.__self__, above)
        case functools.partial():
            return "partial", _plain([value.func, value.args, value.keywords], above)
        case nn.Module():
            return tuple(_modules(value, above)), weights_of(value)
        case Mapping():
            return _path(type(value)), sorted(((_plain(key, above), _plain(entry, above)) for key, entry in value.items()), key=repr)
        case set() | frozenset():
            return "set", sorted((_plain(entry, above) for entry in value), key=repr)
        case list() | tuple():
            return _path(type(value)), [_plain(entry, above) for entry in value]
        case _ if dataclasses.is_dataclass(value):
            return _path(type(value)), _plain({field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}, above)
        case _:  # of any other object the attributes that cannot hold an address
            attributes = getattr(value, "__dict__", {})
            simple = {key: entry for key, entry in attributes.items() if isinstance(entry, (*PLAIN, types.FunctionType))}
            return _path(type(value)), _plain(simple, above)


def _captured(cell: types.CellType) -> Any:
    """What a function holds from around it, where it cannot change: a list may have been filled since."""
    try:
        value = cell.cell_contents
    except ValueError:  # still empty
        return None
    if isinstance(value, types.FunctionType):  # which may hold itself
        return _path(value), _code(value.__code__)
    return _plain(value, ()) if isinstance(value, (*PLAIN, *NAMED, functools.partial)) else _path(type(value))


def _code(code: types.CodeType) -> Any:
    constants = [_code(constant) if isinstance(constant, types.CodeType) else _plain(constant, ()) for constant in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars


def _path(thing: Any) -> str:
    return f"{getattr(thing, '__module__', None)}.{getattr(thing, '__qualname__', None) or getattr(thing, '__name__', None)}"


def _content(tensor: Tensor) -> tuple[bytes, bytes]:
    """Shape and type, and the bytes."""
    flat = tensor.detach().cpu().contiguous().flatten()
    return f"{tuple(tensor.shape)} {tensor.dtype}".encode(), flat.view(torch.uint8).numpy().tobytes()


def _digest(*chunks: bytes) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(len(chunk).to_bytes(8, "big") + chunk)
    return digest.hexdigest()
