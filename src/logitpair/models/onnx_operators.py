"""ONNX's operators by PyTorch's: functions of their inputs, in order, and of their attributes, by name, as of opset 18 and later."""

# pyright: reportUnknownLambdaType=false
# of a table of so many functions the types are in the documents of ONNX

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from logitpair.errors import InputError

INTEGERS = {2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64}
DTYPES = INTEGERS | {1: torch.float32, 9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16}
NO_PADS, ONES = (0, 0, 0, 0), (1, 1)


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Sequence[int] = (),
    strides: Sequence[int] = ONES,
    pads: Sequence[int] = NO_PADS,
    dilations: Sequence[int] = ONES,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Tensor:
    x, padding = _padded(x, kernel_shape, pads, auto_pad, 0.0)
    return F.conv2d(x, weight, bias, tuple(strides), padding, tuple(dilations), group)


def _max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = ONES,
    pads: Sequence[int] = NO_PADS,
    dilations: Sequence[int] = ONES,
    ceil_mode: int = 0,
    storage_order: int = 0,
    auto_pad: str = "NOTSET",
) -> Tensor:
    x, padding = _padded(x, kernel_shape, pads, auto_pad, -math.inf)
    return F.max_pool2d(x, tuple(kernel_shape), tuple(strides), padding, tuple(dilations), bool(ceil_mode))


def _average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = ONES,
    pads: Sequence[int] = NO_PADS,
    dilations: Sequence[int] = ONES,
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    auto_pad: str = "NOTSET",
) -> Tensor:
    _require(tuple(dilations) == ONES, "AveragePool", "dilations")
    padded, padding = _padded(x, kernel_shape, pads, auto_pad, 0.0)
    pool = functools.partial(
        F.avg_pool2d, kernel_size=tuple(kernel_shape), stride=tuple(strides), padding=padding, ceil_mode=bool(ceil_mode)
    )
    if padded is x or count_include_pad:
        return pool(padded, count_include_pad=bool(count_include_pad))
    return pool(padded) / pool(_padded(torch.ones_like(x), kernel_shape, pads, auto_pad, 0.0)[0])


def _padded(x: Tensor, kernel_shape: Sequence[int], pads: Sequence[int], auto_pad: str, value: float) -> tuple[Tensor, tuple[int, int]]:
    """The images and what is left to pad them by; done here is what PyTorch's layers cannot, more on one side than on the other."""
    _require(auto_pad in ("NOTSET", "VALID"), "a layer", f"auto_pad {auto_pad}")
    # PyTorch would take one number for both sides, and a sequence for an image without a batch
    _require(len(kernel_shape) in (0, 2), "a layer", f"kernel_shape {list(kernel_shape)}")
    top, left, bottom, right = NO_PADS if auto_pad == "VALID" else pads
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    _require(not training_mode, "BatchNormalization", "training_mode")
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=epsilon)


def _layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    scaled = F.layer_norm(x, x.shape[axis:], eps=epsilon) * weight
    return scaled if bias is None else scaled + bias


def _group_norm(x: Tensor, weight: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1) -> Tensor:
    each = x.shape[1] // len(weight)  # opset 18 has a weight for each group, later ones for each channel
    return F.group_norm(x, num_groups, weight.repeat_interleave(each), bias.repeat_interleave(each), epsilon)


def _gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Tensor:
    product = alpha * F.linear(a.t() if transA else a, b if transB else b.t())
    return product if c is None else product + beta * c


def _cast(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    _require(to in DTYPES, "Cast", f"type {to}")
    return x.to(DTYPES[to])


def _dropout(x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None, *, seed: int = 0) -> Tensor:
    _require(training is None or not training, "Dropout", "training_mode")
    return x


def _divide(a: Any, b: Tensor) -> Tensor:
    integers = isinstance(a, Tensor) and not a.is_floating_point()  # what torch.fx traces by is no tensor
    return torch.div(a, b, rounding_mode="trunc") if integers else a / b


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is None and high is None:
        return x
    # an infinite bound would make floats of integers
    return x.clamp(None if low is None else low.item(), None if high is None else high.item())


def _reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        which = [] if axes is None else axes.tolist()
        if not which and noop_with_empty_axes:
            return x
        return function(x, dim=which or list(range(x.ndim)), keepdim=bool(keepdims))

    return reduce


def _reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    return x.reshape([x.shape[i] if size == 0 and not allowzero else size for i, size in enumerate(shape.tolist())])


def _flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    return x.flatten(1) if axis == 1 else x.reshape(math.prod(x.shape[:axis]), -1)


def _unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    which = axes.tolist()
    if min(which) < 0 <= max(which):  # counted from both ends
        which = [axis % (x.ndim + len(which)) for axis in which]
    for axis in sorted(which, key=abs):
        x = x.unsqueeze(axis)
    return x


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    every = [1] * len(starts) if steps is None else steps.tolist()
    _require(min(every) > 0, "Slice", "steps backwards")
    which = range(len(starts)) if axes is None else axes.tolist()
    for axis, start, end, step in zip(which, starts.tolist(), ends.tolist(), every, strict=True):
        x = x[_along(axis, slice(start, end, step))]
    return x


def _gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return x[_along(axis, indices)]


def _along(axis: int, index: slice | Tensor) -> tuple[slice | Tensor | EllipsisType, ...]:
    every = slice(None)
    return (every,) * axis + (index,) if axis >= 0 else (..., index, *(every,) * (-axis - 1))


def _split(x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int | None = None) -> Sequence[Tensor]:
    return x.chunk(num_outputs or 1, axis) if sizes is None else x.split(sizes.tolist(), axis)


def _pad(x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, *, mode: str = "constant") -> Tensor:
    before, after = pads.view(2, -1).tolist()
    which = range(-len(before), 0) if axes is None else [axis - x.ndim if axis >= 0 else axis for axis in axes.tolist()]
    amounts = {axis: pair for axis, *pair in zip(which, before, after, strict=True) if any(pair)}
    flat = [amount for axis in range(-1, min(amounts, default=0) - 1, -1) for amount in amounts.get(axis, (0, 0))]
    how = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    return F.pad(x, flat, how, None if value is None or mode != "constant" else value.item())


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _require(kept: bool, operator: str, what: str) -> None:
    if not kept:
        raise InputError(f"{operator} with {what} is not read")


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "And": torch.logical_and,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": torch.ceil,
    "Clip": _clip,
    "Concat": lambda *x, axis: torch.cat(x, axis),
    "ConstantOfShape": lambda shape, *, value=torch.zeros(1): torch.full(shape.tolist(), value.item(), dtype=value.dtype),  # noqa: B008
    "Conv": _conv,
    "Div": _divide,
    "Dropout": _dropout,
    "Einsum": lambda *x, equation: torch.einsum(equation, *x),
    "Elu": lambda x, *, alpha=1.0: F.elu(x, alpha),
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": torch.floor,
    "Gather": _gather,
    "Gelu": lambda x, *, approximate="none": F.gelu(x, approximate=approximate),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda x: x.amax((2, 3), keepdim=True),
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "GroupNormalization": _group_norm,
    "HardSigmoid": lambda x, *, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0, 1),
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "InstanceNormalization": lambda x, weight, bias, *, epsilon=1e-5: F.instance_norm(x, weight=weight, bias=bias, eps=epsilon),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda x, *, alpha=0.01: F.leaky_relu(x, alpha),
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "LogSoftmax": lambda x, *, axis=-1: F.log_softmax(x, axis),
    "MatMul": torch.matmul,
    "Max": lambda *x: functools.reduce(torch.maximum, x),
    "MaxPool": _max_pool,
    "Min": lambda *x: functools.reduce(torch.minimum, x),
    "Mish": F.mish,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "PRelu": lambda x, slope: torch.where(x >= 0, x, slope * x),
    "Pad": _pad,
    "Pow": torch.pow,
    "Range": lambda start, limit, delta: torch.arange(start.item(), limit.item(), delta.item()),
    "Reciprocal": torch.reciprocal,
    "ReduceL2": _reduce(torch.linalg.vector_norm),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": torch.relu,
    "Reshape": _reshape,
    "Selu": F.selu,
    "Shape": lambda x, *, start=0, end=None: torch.tensor(x.shape[start:end]),
    "Sigmoid": torch.sigmoid,
    "Slice": _slice,
    "Softmax": lambda x, *, axis=-1: F.softmax(x, axis),
    "Softplus": F.softplus,
    "Split": _split,
    "Sqrt": torch.sqrt,
    "Squeeze": lambda x, axes=None: x.squeeze() if axes is None else x.squeeze(axes.tolist()),
    "Sub": torch.sub,
    "Sum": lambda *x: functools.reduce(torch.add, x),
    "Tanh": torch.tanh,
    "Tile": lambda x, repeats: x.repeat(repeats.tolist()),
    "Transpose": lambda x, *, perm=None: x.permute(tuple(range(x.ndim))[::-1] if perm is None else tuple(perm)),
    "Unsqueeze": _unsqueeze,
    "Where": torch.where,
}
