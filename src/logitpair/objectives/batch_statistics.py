"""The mean and variance by which BatchNorm normalises in training, with their gradients, from the pass that normalises by them."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Statistics = dict[nn.Module, tuple[Tensor, Tensor]]


@contextmanager
def batch_statistics(model: nn.Module) -> Generator[Statistics]:
    """The mean and variance, each ``[channels]``, by which each BatchNorm in train mode normalises in the forward passes of this block."""
    keeper = _Keeper()
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                stack.callback(module.register_forward_pre_hook(keeper.begin).remove)
                stack.callback(module.register_forward_hook(keeper.end).remove)
        stack.enter_context(keeper)
        yield keeper.found


class _Keeper(TorchFunctionMode):
    """Keeps the statistics of the BatchNorm that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Statistics = {}
        self.running: nn.BatchNorm1d | nn.BatchNorm2d | None = None

    def begin(self, module: Any, _: Any) -> None:
        self.running = module if module.training else None

    def end(self, module: Any, inputs: tuple[Tensor, ...], _: Any) -> None:
        if self.running is not None:  # whose normalisation was left to PyTorch
            variance, mean = torch.var_mean(inputs[0], [0, *range(2, inputs[0].ndim)], correction=0)
            self.found[module], self.running = (mean, variance), None

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.batch_norm or self.running is None or not (call := _Call(*args, **kwargs)).is_of(self.running):
            return func(*args, **kwargs)
        output, mean, variance = BatchNormalization.apply(
            call.input, call.running_mean, call.running_var, call.weight, call.bias, call.momentum, call.eps
        )
        self.found[self.running], self.running = (mean, variance), None
        return output


class _Call(NamedTuple):
    """The arguments of ``F.batch_norm``."""

    input: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5

    def is_of(self, module: nn.BatchNorm1d | nn.BatchNorm2d) -> bool:
        """Whether it is what the module does in train mode, in float32 or float64, and nothing that PyTorch refuses."""
        x, channels = self.input, self.input.shape[1]
        own = self.training and self.weight is module.weight and (self.running_mean is None or self.running_mean is module.running_mean)
        tensors = [each for each in (self.running_mean, self.running_var, self.weight, self.bias) if each is not None]
        fits = all(len(each) == channels and each.dtype == x.dtype for each in tensors)
        return own and fits and x.dtype in (torch.float32, torch.float64) and x.numel() > channels and self.eps > 0


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
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the statistics that are kept have no gradients of their own
            raise RuntimeError("the loss of a certified training has no second derivatives; accepted: create_graph=False")
        by_output, by_mean, by_variance = gradients
        x, weight, mean, scale = ctx.saved_tensors
        by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            by_output, x, weight, None, None, mean, scale, True, ctx.eps, ctx.wanted
        )
        count, of_channels = x.numel() / len(mean), (-1, *[1] * (x.ndim - 2))
        slope = 2 * by_variance / count  # of the variance's gradient, which is slope * (x - mean); the mean's is 1 / count
        shift = by_mean / count - slope * mean
        by_x.addcmul_(x, slope.view(of_channels)).add_(shift.view(of_channels))
        return by_x, None, None, by_weight, by_bias, None, None
