"""What images, labels, logits and numbers must be; each check raises an ``InputError`` with what was found and what is accepted."""

import math
import numbers
import operator
import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import UnionType

import torch
from torch import Tensor, nn

from logitpair.errors import InputError


def check_batch(x: Tensor, y: Tensor) -> None:
    """Refuse images that are not finite float32/float64 in [0, 1] ``[batch, channels, height, width]``, or labels ``[batch]``."""
    dense("x", x, "a tensor of images")
    dense("y", y, "a tensor of labels")
    if x.ndim != 4 or x.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"x: images must be float32 or float64 [batch, channels, height, width] in [0, 1], not {_kind(x)}"
            + (" (divide uint8 by 255 first)" if x.dtype == torch.uint8 else "")
        )
    if y.shape != x.shape[:1] or y.dtype != torch.int64:
        raise InputError(f"y: labels must be int64 [{len(x)}], one for each image, not {_kind(y)}")
    if x.numel():
        low, high = x.aminmax()
        if not (low >= 0 and high <= 1):
            found = "NaN" if low.isnan() else f"values from {low.cpu().numpy()!s} to {high.cpu().numpy()!s}"
            raise InputError(f"x: pixels must lie in [0, 1], found {found} (normalise inside the model: logitpair.models.Normalized)")


def check_labels(y: Tensor, classes: int) -> None:
    """Refuse labels outside 0..classes-1."""
    if y.numel():
        low, high = (int(bound) for bound in y.aminmax())
        if low < 0 or high >= classes:
            raise InputError(f"y: labels must lie in 0..{classes - 1} (the model has {classes} classes), found {low}..{high}")


def check_model(name: str, model: object) -> None:
    """Refuse what is no network."""
    if not isinstance(model, nn.Module):
        raise InputError(f"{name} must be an nn.Module that maps images to logits, not {type_name(model)}")


def check_logits(logits: object, x: Tensor) -> Tensor:
    """Refuse a model output that is not floating-point ``[batch, classes]``, and return it in the images' dtype."""
    is_tensor = isinstance(logits, Tensor)
    if not is_tensor or not logits.is_floating_point() or logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        found = _kind(logits) if is_tensor else type(logits).__name__
        hint = ""
        if is_tensor and not logits.is_floating_point():
            hint = "; return logits, not the numbers of classes"
        elif is_tensor and logits.shape in ((len(x), 1), (len(x),)):
            hint = "; for one logit z of two classes return torch.cat([torch.zeros_like(z), z], 1), with z of shape [batch, 1]"
        elif isinstance(getattr(logits, "logits", None), Tensor):
            hint = "; wrap it in a module that returns its .logits"
        elif isinstance(logits, Mapping) and (names := [str(key) for key, value in logits.items() if isinstance(value, Tensor)]):
            hint = f"; wrap it in a module that returns one part, such as ['{names[0]}']"
        elif isinstance(logits, Sequence) and logits and isinstance(logits[0], Tensor):
            hint = "; wrap it in a module that returns one part, such as [0]"
        raise InputError(f"model: must return logits [{len(x)}, classes >= 2] in floating point for {len(x)} images, not {found}{hint}")
    return logits.to(x.dtype)


def are_probabilities(logits: Tensor) -> bool:
    """Whether every row is non-negative and sums to 1."""
    return bool(len(logits) and (logits >= 0).all() and (logits.sum(1) - 1).abs().max() < 1e-3)


def warn_if_probabilities(logits: Tensor) -> bool:
    """Warn when every row is non-negative and sums to 1: softmax applied twice hides gradients from an attack."""
    looks = are_probabilities(logits)
    if looks:
        warnings.warn("model: returns probabilities, not logits; remove its softmax, or it will look more robust than it is", stacklevel=3)
    return looks


def positive(name: str, value: float) -> None:
    """Refuse a value that is not a finite number above 0."""
    _number(name, value)
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be above 0, not {value}")


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a value below ``least``, or not finite."""
    _number(name, value)
    if not least <= value < math.inf:
        raise InputError(f"{name} must be at least {least}, not {value}")


def fraction(name: str, value: float, *, zero: bool = True, one: bool = True) -> None:
    """Refuse a value outside [0, 1], and its ends where ``zero`` or ``one`` is False."""
    _number(name, value)
    if not 0 <= value <= 1 or (value == 0 and not zero) or (value == 1 and not one):
        raise InputError(f"{name} must lie in {'[' if zero else '('}0, 1{']' if one else ')'}, not {value}")


def whole(name: str, value: int, least: float = -math.inf) -> None:
    """Refuse what is not an integer of at least ``least``; a float is none, whatever its value."""
    _number(name, value)
    try:
        if operator.index(value) >= least:
            return
        written = ""
    except TypeError:
        written = f" (write {int(value)})" if math.isfinite(value) and int(value) == value else ""
    raise InputError(f"{name} must be a whole number{f' of at least {least}' if math.isfinite(least) else ''}, not {value}{written}")


def check_seed(name: str, value: int) -> None:
    """Refuse a seed that PyTorch's generators do not take."""
    whole(name, value, 0)
    if value >= 2**63:
        raise InputError(f"{name} must be below 2^63, not {value}")


def instance(name: str, value: object, kinds: type | UnionType, accepted: str) -> None:
    """Refuse what is of no such kind; ``accepted`` is how the message calls what is."""
    if not isinstance(value, kinds):
        raise InputError(f"{name} must be {accepted}, not {kind_of(value)}")


def dense(name: str, value: object, accepted: str) -> None:
    """Refuse what is no tensor, or one that does not hold a value for each of its elements as such."""
    instance(name, value, Tensor, accepted)
    if isinstance(value, Tensor) and (value.layout is not torch.strided or value.is_quantized or value.is_nested or value.is_meta):
        kinds = {"quantized": value.is_quantized, "nested": value.is_nested, "on the meta device, without values": value.is_meta}
        found = next((kind for kind, is_one in kinds.items() if is_one), str(value.layout).removeprefix("torch."))
        raise InputError(f"{name} must be {accepted}, dense, not {found}")


def kind_of(thing: object) -> str:
    """What messages call a thing that does not belong: a number or a text as it is, a class by its name."""
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return repr(thing) if isinstance(thing, str | int | float) else type_name(thing)


def type_name(thing: object) -> str:
    """What messages call a thing of the wrong type: ``None``, ``a list``."""
    return "None" if thing is None else f"a {type(thing).__name__}"


def _number(name: str, value: object) -> None:
    # neither True, which counts as 1, nor a Fraction, which no tensor can be multiplied by
    of_python = isinstance(value, numbers.Real) and not isinstance(value, bool | Fraction)
    if not of_python and not (isinstance(value, Tensor) and value.ndim == 0):
        raise InputError(f"{name} must be a number, not {value!r}")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
