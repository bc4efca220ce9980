"""What distinguishes one network from another, the same in every process: weights, settings, and the code that runs."""

import dataclasses
import enum
import functools
import hashlib
import sys
import types
from collections import deque
from collections.abc import Iterator, Mapping, Set
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, complex, str, bytes, type(None), range, slice, np.generic, torch.dtype, torch.layout, torch.memory_format)
NAMED = (type, types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, np.ufunc)
TORCH_OWN = frozenset(vars(nn.Module()))  # what torch keeps in every module
COMPILED_ID = "_torchdynamo_wrapper_id"  # an address that torch.compile notes
NOT_FOLLOWED = frozenset({"torch", "numpy", "jaxtyping", "beartype", *sys.stdlib_module_names})  # packages whose code is taken by name
HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def fingerprint(model: nn.Module) -> str:
    """A SHA-256 of the model: weights, buffers, its modules' settings (their attributes), and the code of their methods (``code_of``)."""
    return _digest(weights_of(model).encode(), *(repr(module).encode() for module in _modules(model, ())))


def weights_of(model: nn.Module) -> str:
    """A SHA-256 of the model's parameters and buffers, which no version of Python or PyTorch changes."""
    # by name and not as a state dict, which leaves out buffers such as a normalisation's
    named = sorted([*model.named_parameters(), *model.named_buffers()], key=lambda pair: pair[0])
    return _digest(*(chunk for name, tensor in named for chunk in (name.encode(), *_content(tensor))))


def code_of(*things: Any, but_not: str | None = None) -> list[Any]:
    """What Python functions, or the methods of classes, do, in plain values.

    That is their bytecode and constants, defaults, and what they hold from around them, and the same of all that they reach by name:
    other functions, classes, and values of their module, with those of the packages that it imports, ``but_not`` of this one.
    """
    taken_by_name = NOT_FOLLOWED | {but_not}
    found: list[Any] = []
    queue, seen = deque(things), dict[int, Any]()
    while queue:
        thing = queue.popleft()
        if _is_leaf(thing):
            found.append(_plain(thing, ()))
            continue
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing  # held, or another might get its id
        found.append(_path(thing if isinstance(thing, type | types.FunctionType) else type(thing)))
        match thing:
            case types.FunctionType() if _is_own(thing.__globals__.get("__name__"), taken_by_name):
                found.append(_code(thing.__code__))
                queue += [thing.__defaults__, thing.__kwdefaults__, *map(_captured, thing.__closure__ or ())]
                names = _names(thing.__code__)
                queue += _named(thing.__globals__, names, taken_by_name)
            case types.FunctionType() | functools._lru_cache_wrapper():  # a decorator's  # pyright: ignore[reportPrivateUsage]
                queue.append(getattr(thing, "__wrapped__", None))
            case type():
                queue += _members(thing, taken_by_name)
            case types.MethodType():
                queue += [thing.__func__, thing.__self__]
            case functools.partial():
                queue += [thing.func, thing.args, thing.keywords]
            case nn.Module():
                queue += [weights_of(thing), *dict.fromkeys(map(type, thing.modules()))]
            case Mapping():
                queue += [part for pair in thing.items() for part in pair]
            case list() | tuple():
                queue += thing
            case _ if _is_own(type(thing).__module__, taken_by_name):
                queue += [type(thing), *(pair for pair in getattr(thing, "__dict__", {}).items() if _is_leaf(pair[1]))]
            case _:
                pass
    return found


def _is_leaf(thing: Any) -> bool:
    """Whether ``_plain`` needs no code to tell it from others."""
    named = isinstance(thing, NAMED) and not isinstance(thing, type)
    return named or (isinstance(thing, (*PLAIN, Tensor, np.ndarray, set, frozenset)) and not isinstance(thing, enum.Enum))


def _is_own(module: str | None, taken_by_name: Set[str | None]) -> bool:
    """Whether code of this module is followed, and not taken by name."""
    return (module or "").partition(".")[0] not in taken_by_name


def _named(names: Mapping[str, Any], used: list[str], taken_by_name: Set[str | None]) -> list[Any]:
    """What these names stand for, in a module and in those that it imports, with the names."""
    found: list[Any] = []
    for name in used:
        value = names.get(name)
        if isinstance(value, types.ModuleType):
            others = [other for other in used if other != name]
            found += _named(vars(value), others, taken_by_name) if _is_own(value.__name__, taken_by_name) else []
        elif name in names:
            found += [name, value]
    return found


def _names(code: types.CodeType) -> list[str]:
    """Those that the code and the functions within it use, of globals and attributes alike."""
    return [*code.co_names, *(name for inner in code.co_consts if isinstance(inner, types.CodeType) for name in _names(inner))]


def _members(kind: type, taken_by_name: Set[str | None]) -> list[Any]:
    """The functions and simple values of a class and of those it inherits from; what ``__init__`` does is seen in the object."""
    found: list[Any] = []
    for name, value in [pair for base in kind.__mro__ if _is_own(base.__module__, taken_by_name) for pair in vars(base).items()]:
        function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        if isinstance(function, types.FunctionType) and name != "__init__":
            found.append(function)
        elif _is_leaf(value) and not name.startswith("__"):
            found += [name, value]
    return found


def _modules(model: nn.Module, above: tuple[int, ...]) -> Iterator[Any]:
    """Each module's name, type, settings and hooks, then the code of all."""
    within = (*above, *map(id, model.modules()))
    for name, module in model.named_modules():
        settings = {key: value for key, value in vars(module).items() if key not in TORCH_OWN and key != COMPILED_ID}
        hooks = [list(vars(module).get(kind, {}).values()) for kind in HOOKS]
        yield name, _path(type(module)), _plain(settings, within), _plain(hooks, within)
    yield code_of(*dict.fromkeys(map(type, model.modules())))


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
            fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
            return _path(type(value)), _plain(fields, above), code_of(type(value))
        case _:  # of any other object the attributes that cannot hold an address
            attributes = getattr(value, "__dict__", {})
            simple = {key: entry for key, entry in attributes.items() if isinstance(entry, (*PLAIN, types.FunctionType))}
            return _path(type(value)), _plain(simple, above), code_of(type(value))


def _captured(cell: types.CellType) -> Any:
    """What a function holds from around it; of a list and the like the kind alone, since it may have been filled since."""
    try:
        value = cell.cell_contents
    except ValueError:  # still empty
        return None
    return type(value) if isinstance(value, list | dict | set) else value


def _code(code: types.CodeType) -> Any:
    constants = [_code(constant) if isinstance(constant, types.CodeType) else _plain(constant, ()) for constant in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars


def _path(thing: Any) -> str:
    return f"{getattr(thing, '__module__', None)}.{getattr(thing, '__qualname__', None) or getattr(thing, '__name__', None)}"


def bytes_of(tensor: Tensor) -> bytes:
    """A tensor's values in its own dtype, of which numpy does not know all."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _content(tensor: Tensor) -> tuple[bytes, bytes]:
    """Shape and type, and the bytes."""
    return f"{tuple(tensor.shape)} {tensor.dtype}".encode(), bytes_of(tensor)


def _digest(*chunks: bytes) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(len(chunk).to_bytes(8, "big") + chunk)
    return digest.hexdigest()
