"""Which operation a module or a function is."""

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from logitpair.bounds.operations import (
    Affine,
    Arithmetic,
    BatchNorm,
    Conv2d,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Nonlinear,
    NonnegativeLinear,
    Sum,
)

RESHAPES = {"view", "reshape", "flatten", "Flatten", "Unflatten", "unflatten", "squeeze", "unsqueeze"}
AVERAGES = {"AvgPool2d", "AdaptiveAvgPool2d", "ZeroPad2d", "avg_pool2d", "adaptive_avg_pool2d", "mean"}
JOINS = {"cat", "concat"}
RELUS = {"ReLU", "relu", "relu_"}
LEAKY_RELUS = {"LeakyReLU", "leaky_relu", "leaky_relu_"}
SIGNS = {"add": 1, "iadd": 1, "add_": 1, "sub": -1, "isub": -1, "sub_": -1}
FACTORS = {"mul", "imul", "mul_", "truediv", "itruediv", "div", "div_"}


def of_module(module: nn.Module, value: Tensor) -> Affine | Nonlinear | None:
    """The operation of one of PyTorch's modules, which returned this value; None where no bounds are known of it."""
    match module:
        case nn.Linear():
            return Linear(module)
        case nn.Conv2d():
            return _convolution(module, module.padding, module.padding_mode)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return BatchNorm(module) if module.running_mean is not None and not module.training else None
        case nn.MaxPool2d():
            return _max_pool(module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
        case nn.LeakyReLU():
            return _leaky_relu(module.negative_slope)
        case nn.ReLU():
            return LeakyReLU()
        case _:
            name = type(module).__name__
            if name in AVERAGES:
                return _average(module, getattr(module, "divisor_override", None))
            return _reshape(value) if name in RESHAPES else None


def of_function(
    name: str, target: Any, given: Sequence[Any], args: Sequence[Any], kwargs: dict[str, Any], value: Tensor
) -> Affine | Nonlinear | None:
    """The operation of a function or method, which returned this value; None where no bounds are known of it.

    Args:
        name: of the function.
        target: the function, or the name of a tensor's method.
        given: its arguments, in which the nodes of the graph stand for what depends on the image.
        args: the same with the values of one pair of images.
        kwargs: by name.
        value: ``[2, ...]``.
    """
    if name in RESHAPES:
        return _reshape(value)
    if name in RELUS:
        return LeakyReLU()
    if name in LEAKY_RELUS:
        return _leaky_relu(*args[1:2], **{key: kwargs[key] for key in kwargs.keys() & {"negative_slope"}})
    if name in JOINS:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return NonnegativeLinear(lambda *x: torch.cat(x, dim)) if dim else None
    if name in AVERAGES:
        return _average(_with_arguments(target, args[1:], kwargs), kwargs.get("divisor_override", args[6] if len(args) > 6 else None))
    if name == "pad":
        settings = dict(zip(("pad", "mode", "value"), args[1:], strict=False)) | kwargs
        zeros = settings.get("mode", "constant") == "constant" and not settings.get("value")
        return NonnegativeLinear(partial(F.pad, pad=settings["pad"])) if zeros else None
    if name in ("max_pool2d", "boolean_dispatch"):
        return _max_pool(*args[1:6], **{key: kwargs[key] for key in kwargs if key != "return_indices"})
    if name == "linear":
        return Linear(SimpleNamespace(weight=args[1], bias=args[2] if len(args) > 2 else kwargs.get("bias")))
    if name == "conv2d":
        defaults: dict[str, Any] = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        settings: dict[str, Any] = defaults | dict(zip(("weight", *defaults), args[1:], strict=False)) | kwargs
        pairs = {key: _pair(settings[key]) for key in ("stride", "dilation")} | {"kernel_size": tuple(settings["weight"].shape[2:])}
        return _convolution(SimpleNamespace(**settings | pairs), settings["padding"])
    if name == "batch_norm":
        settings = dict(zip(("mean", "var", "weight", "bias", "training", "momentum", "eps"), args[1:], strict=False))
        settings |= {key.removeprefix("running_"): content for key, content in kwargs.items()}
        if settings.get("training"):
            return None
        norm = SimpleNamespace(  # where a module would have them
            running_mean=settings["mean"],
            running_var=settings["var"],
            weight=settings.get("weight"),
            bias=settings.get("bias"),
            eps=settings.get("eps", 1e-5),
            spatial=value.ndim == 4,
        )
        return BatchNorm(norm)
    return _arithmetic(name, given, kwargs, value)


def _arithmetic(name: str, given: Sequence[Any], kwargs: dict[str, Any], value: Tensor) -> Affine | Nonlinear | None:
    """Sums, and sums and products with constants; None for anything else."""
    if name in ("neg", "neg_"):
        return Arithmetic(value.new_tensor(-1), _times)
    if len(given) != 2 or kwargs or name not in SIGNS.keys() | FACTORS:
        return None
    left, right = given
    if isinstance(left, fx.Node) and isinstance(right, fx.Node):
        return Sum(SIGNS[name]) if name in SIGNS else None
    constant = torch.as_tensor(right if isinstance(left, fx.Node) else left, dtype=value.dtype, device=value.device)
    if constant.ndim == value.ndim and len(constant) != 1:
        return None
    image_first, sign = isinstance(left, fx.Node), SIGNS.get(name, 0)
    if sign:
        signs = (1, sign) if image_first else (sign, 1)
        return Arithmetic(constant, lambda c: (signs[0] * c.new_ones(()), signs[1] * c))
    if "div" in name:
        return Arithmetic(constant, lambda c: _times(1 / c)) if image_first else None
    return Arithmetic(constant, _times)


def _times(constant: Tensor) -> tuple[Tensor, Tensor]:
    return constant, constant.new_zeros(())


def _with_arguments(target: Any, rest: Sequence[Any], kwargs: dict[str, Any]) -> Callable[..., Tensor]:
    """A function of its first argument alone; ``target`` is a function, or the name of a tensor's method."""

    def function(x: Tensor) -> Tensor:
        return getattr(x, target)(*rest, **kwargs) if isinstance(target, str) else target(x, *rest, **kwargs)

    return function


def _average(function: Callable[..., Tensor], divisor: int | None) -> NonnegativeLinear | None:
    return NonnegativeLinear(function) if divisor is None or divisor > 0 else None


def _reshape(value: Tensor) -> NonnegativeLinear:
    shape = tuple(value.shape[1:])

    def reshaped(x: Tensor) -> Tensor:
        return x.reshape(len(x), *shape)

    return NonnegativeLinear(reshaped)


def _leaky_relu(negative_slope: float = 0.01) -> LeakyReLU | None:
    return LeakyReLU(negative_slope) if 0 <= negative_slope < 1 else None


def _convolution(module: Any, padding: Any, padding_mode: str = "zeros") -> Conv2d | None:
    """The convolution with its padding as two numbers; None where it pads by other than zeros, or by one more on one side."""
    if padding == "same":
        beyond = [step * (kernel - 1) for step, kernel in zip(module.dilation, module.kernel_size, strict=True)]
        if any(total % 2 for total in beyond):
            return None
        padding = tuple(total // 2 for total in beyond)
    return Conv2d(module, (0, 0) if padding == "valid" else _pair(padding)) if padding_mode == "zeros" else None


def _max_pool(kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> MaxPool2d | None:
    settings = {"kernel_size": _pair(kernel_size), "stride": _pair(stride or kernel_size)}
    return None if ceil_mode else MaxPool2d(settings | {"padding": _pair(padding), "dilation": _pair(dilation)})


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
