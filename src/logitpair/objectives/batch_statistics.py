"""The mean and variance by which BatchNorm normalises in training, with their gradients, from the pass that normalises by them."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

Statistics = dict[nn.Module, tuple[Tensor, Tensor]]


@contextmanager
def batch_statistics(model: nn.Module) -> Generator[Statistics]:
    """The mean and variance, each ``[channels]``, by which each BatchNorm in train mode normalises in the forward passes of this block."""
    keeper = _Keeper()
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                stack.callback(module.register_forward_pre_hook(keeper.expect).remove)
        stack.enter_context(keeper)
        yield keeper.found


class _Keeper(TorchFunctionMode):
    """Keeps the statistics of the BatchNorm that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Statistics = {}
        self.expected: nn.Module | None = None

    def expect(self, module: nn.Module, _: Any) -> None:
        self.expected = module if module.training else None

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.batch_norm or self.expected is None:
            return func(*args, **kwargs)
        module, self.expected = self.expected, None
        self.found[module], output = _normalised(*args, **kwargs)
        return output


def _normalised(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,  # it is: BatchNorm in train mode has no other
    momentum: float,
    eps: float,
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Mean and variance of each channel, and what ``F.batch_norm`` gives in training."""
    if input.numel() == input.shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")  # as PyTorch does
    output, mean, variance = BatchNormalization.apply(input, running_mean, running_var, weight, bias, momentum, eps)
    return (mean, variance), output


class BatchNormalization(torch.autograd.Function):
    """PyTorch's batch normalisation, which gives its mean and biased variance too; they have gradients like any other output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        output, mean, scale = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.eps, ctx.wanted = eps, [True, weight is not None, bias is not None]
        return output, mean, scale**-2 - eps  # the scale is 1 / sqrt(variance + eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        by_output, by_mean, by_variance = gradients
        x, weight, mean, scale = ctx.saved_tensors
        by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            by_output, x, weight, None, None, mean, scale, True, ctx.eps, ctx.wanted
        )
        count, of_channels = x.numel() / len(mean), (-1, *[1] * (x.ndim - 2))
        slope = 2 * by_variance / count  # of the variance's gradient, which is slope * (x - mean); the mean's is 1 / count
        shift = by_mean / count - slope * mean
        by_x.addcmul_(x, slope.view(of_channels).to(x.dtype)).add_(shift.view(of_channels).to(x.dtype))
        return by_x, None, None, by_weight, by_bias, None, None
