"""Reversible blocks: a chain of any depth that stores the activations of its last block alone."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

Stream = Float[Tensor, "batch half height width"]
Streams = tuple[Stream, Stream]


class ReversibleBlock(nn.Module):
    """``y1 = x1 + F(x2)``, ``y2 = x2 + G(y1)``, which the inputs follow from: ``x2 = y2 - G(y1)``, ``x1 = y1 - F(x2)``.

    F and G keep the shape, without dropout or other random numbers. Source: arXiv 1707.04585, equations 6 and 7.
    """

    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        self.f, self.g = f, g

    def forward(self, x1: Stream, x2: Stream) -> Streams:
        y1 = x1 + self.f(x2)
        return y1, x2 + self.g(y1)


class ReversibleChain(nn.Module):
    """Reversible blocks one after the other, whose activations are recomputed from the outputs when gradients are computed.

    Memory does not grow with the number of blocks, and a step computes about a third more. Gradients are those of stored activations up
    to rounding, and running statistics move once a forward. A network that is cast to half precision as a whole wants
    ``reversible=False``, which stores activations, and so do second derivatives, which raise.

    Source: arXiv 1707.04585, section 3.2 and algorithm 1. Departure: F and G are each computed once in the backward pass.
    """

    def __init__(self, blocks: Iterable[ReversibleBlock], *, reversible: bool = True) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.reversible = reversible

    def forward(self, x1: Stream, x2: Stream) -> Streams:
        if torch.is_autocast_enabled(x1.device.type):  # in half precision the inputs could not be recomputed
            x1, x2 = _at_least_float32(x1), _at_least_float32(x2)
        # what a forward hook takes must have a gradient
        hooked = any(cast(Any, module)._forward_hooks for module in self.blocks.modules())
        if self.reversible and len(self.blocks) and not hooked:
            residuals = [residual for block in self.blocks for residual in (block.f, block.g)]
            return cast(Streams, _Recomputed.apply(residuals, x1, x2, *self.parameters()))
        for block in self.blocks:
            x1, x2 = block(x1, x2)
        return x1, x2


class _Recomputed(torch.autograd.Function):
    """The chain as a sequence of residual functions R, each of which maps the streams ``(a, b)`` to ``(b, a + R(b))``.

    Parameters are inputs, so that their gradients are outputs, as autograd, accumulation and DistributedDataParallel expect.
    """

    @staticmethod
    def forward(ctx: Any, residuals: list[nn.Module], a: Tensor, b: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        ctx.residuals = residuals
        ctx.modes = [(module, module.training) for residual in residuals for module in residual.modules()]
        ctx.buffers = [{name: buffer.clone() for name, buffer in residual.named_buffers()} for residual in residuals]
        device = a.device.type
        enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        # no cache: a weight that is cast here, without a graph, must not be found by who uses it next
        ctx.autocast = partial(torch.autocast, device, dtype=dtype, enabled=enabled, cache_enabled=False)
        with ctx.autocast():
            for residual in residuals:
                a, b = b, a + residual(b)
        ctx.save_for_backward(a, b, *parameters)  # parameters for autograd to refuse a backward after they have changed
        return a, b

    @staticmethod
    def backward(ctx: Any, da: Tensor, db: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # PyTorch's once_differentiable would leave this way to the input out of a second derivative
            raise RuntimeError("a reversible network has no second derivatives (create_graph=True); build it with reversible=False")
        a, b, *_ = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[3:])
        gradients: list[Tensor | None] = []  # of the parameters, from the last to the first
        with _in_modes(ctx.modes), ctx.autocast():
            for residual, buffers in zip(reversed(ctx.residuals), reversed(ctx.buffers), strict=True):
                parameters = dict(residual.named_parameters())
                before = len(wanted) - len(parameters)
                needed, wanted = wanted[before:], wanted[:before]
                own = {name: value.detach().requires_grad_(need) for (name, value), need in zip(parameters.items(), needed, strict=True)}
                x = a.detach().requires_grad_()
                with torch.enable_grad():
                    r = functional_call(residual, {**own, **buffers}, (x,))  # running statistics move in the copies alone
                dx, *found = torch.autograd.grad(r, [x, *(copy for copy in own.values() if copy.requires_grad)], db.to(r.dtype))
                left = iter(found)
                gradients += reversed([next(left) if need else None for need in needed])
                a, b = b - r.detach(), a
                da, db = db, da + dx
        return None, da, db, *reversed(gradients)


@contextmanager
def _in_modes(modes: list[tuple[nn.Module, bool]]) -> Generator[None]:
    """Put modules into the modes of their forward, and back on leaving."""
    before = [(module, module.training) for module, _ in modes]
    try:
        for module, training in modes:
            module.training = training
        yield
    finally:
        for module, training in before:
            module.training = training


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
