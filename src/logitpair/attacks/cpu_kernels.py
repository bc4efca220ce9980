"""Quicker forms of two operations on a CPU, for the passes of an attack: same values, and gradients equal but for rounding."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from logitpair.attacks.engine import is_eager, plain_backward

IMAGE_CHANNELS = 4  # of images; more fill a vector of the processor
COLUMNS = 4e6  # floats of the columns made at once, so that they stay in the cache


class CPUKernels(TorchFunctionMode):
    """Within it a frozen convolution of few channels gives the image's gradient by a matrix product; max pooling runs along the channels.

    ``benchmarks/input_gradient.py`` measures what that brings. Every other operation, weights that are trained, other types than float32,
    other devices and forward passes alone are left as they are; so is everything where the environment says ``LOGITPAIR_ENGINE=eager``.

    Source: ours; the matrix product is im2col's transpose (Chellapilla et al. 2006).
    """

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        form = _FORMS.get(func)
        if form and _searched(args[0] if args else kwargs["input"]) and not is_eager():
            return form(*args, **kwargs)
        return func(*args, **kwargs)


def _searched(x: Any) -> bool:
    """Whether these are a batch's float32 activations on a CPU, through which a gradient is asked for."""
    batch = _plain(x) and x.ndim == 4 and len(x) and x.device.type == "cpu" and x.dtype == torch.float32 and x.requires_grad
    return bool(batch) and plain_backward() and not torch.is_autocast_enabled("cpu")


def _plain(x: Any) -> bool:
    """Whether it is a dense tensor of PyTorch's own, no subclass with operations of its own."""
    return type(x) in (Tensor, nn.Parameter) and x.layout == torch.strided


def _paired(setting: Any) -> bool:
    """Whether every operation takes the setting as it stands: one number or two, no list of one, no word, and no number of NumPy's."""
    return isinstance(setting, int) or (isinstance(setting, tuple | list) and len(setting) == 2)


def _conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    frozen = all(part is None or (_plain(part) and not part.requires_grad) for part in (weight, bias))
    if groups == 1 and frozen and weight.shape[1] <= IMAGE_CHANNELS and all(map(_paired, (stride, padding, dilation))):
        return ImageConvolution.apply(input, weight, bias, stride, padding, dilation)
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    settings = kernel_size, kernel_size if stride is None else stride, padding, dilation, ceil_mode
    if not return_indices and input.is_contiguous() and input.shape[1] > IMAGE_CHANNELS and all(map(_paired, settings)):
        return ChannelwiseMaximum.apply(input, *settings)
    return F.max_pool2d(input, *settings, return_indices=return_indices)  # type: ignore[call-overload]


_FORMS: dict[Callable[..., Any], Callable[..., Any]] = {torch.conv2d: _conv2d, F.max_pool2d: _max_pool2d}


class ImageConvolution(torch.autograd.Function):
    """PyTorch's convolution; its gradient for the image is each pixel's share of every window, added up where the windows lie."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.fold = {"output_size": x.shape[2:], "kernel_size": weight.shape[2:], "dilation": dilation, "padding": padding, "stride": stride}
        return torch.conv2d(x, weight, bias, stride, padding, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        window = weight.flatten(1).t()
        images = max(1, int(COLUMNS // (len(window) * gradients[0].shape[2:].numel())))
        parts = [F.fold(window @ part.view(*part.shape[:2], -1), **ctx.fold) for part in gradients[0].contiguous().split(images)]
        return torch.cat(parts), None, None, None, None, None


class ChannelwiseMaximum(torch.autograd.Function):
    """PyTorch's max pooling of ``[batch, channels, height, width]`` in ``channels_last``, where it takes many channels at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *settings: Any) -> Tensor:
        largest, where = F.max_pool2d_with_indices(x.contiguous(memory_format=torch.channels_last), *settings)
        ctx.save_for_backward(where.contiguous())
        ctx.size, ctx.settings = x.shape, settings
        return largest.contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (where,) = ctx.saved_tensors
        unkept = gradients[0].new_empty(()).expand(ctx.size)  # of the input its size alone is looked at
        gradient = torch.ops.aten.max_pool2d_with_indices_backward(gradients[0].contiguous(), unkept, *ctx.settings, where)
        return gradient, None, None, None, None, None
