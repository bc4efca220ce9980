"""Gradients of a smoother network than the one that answers: for networks whose own gradients point nowhere useful."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from logitpair.validate import at_least

_IN_PLACE = (F.relu_, torch.relu_, torch.Tensor.relu_)
_RELUS = (F.relu, torch.relu, torch.Tensor.relu, *_IN_PLACE)
_STEPS = (torch.round, torch.floor, torch.ceil, torch.trunc, torch.Tensor.round, torch.Tensor.floor, torch.Tensor.ceil, torch.Tensor.trunc)


class SmoothBackward(TorchFunctionMode):
    """Within it every forward pass is unchanged, and the backward pass is that of a smoother network.

    A ReLU lets the gradient through by ``sigmoid(z / t)`` instead of by ``z > 0``, where ``t`` is ``smoothing`` times the mean of
    ``|z|`` over the example's own units: units that are off but near their threshold count, and those barely on count by half.
    Rounding lets it through whole.

    Why: penalties on the logits of noisy images (clean logit pairing, logit squeezing) leave networks whose ReLUs cut the image into
    small linear pieces with unlike gradients. The smoothed gradient looks over the pieces' edges; an annealed ``smoothing`` ends at the
    true one. It sees calls of ``torch`` and ``torch.nn.functional``, and so not the inside of TorchScript.

    A network may recompute its activations in the backward pass (``RevNet``, ``torch.utils.checkpoint``). That they be smoothed too,
    take the gradient by ``logitpair.attacks.base.gradient_of`` within the mode: ``torch.autograd.grad`` of tensors suspends it.

    Source: ours. Straight-through rounding is BPDA (Athalye et al. 2018, arXiv 1802.00420, section 4.1); smooth activations in the
    backward pass alone are known from transfer attacks (Guo et al. 2020, arXiv 2012.03528, which makes them linear).

    Args:
        smoothing: 0 for the network's own gradient at ReLUs, straight through rounding still.
    """

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        at_least("smoothing", smoothing, 0)
        self.smoothing = smoothing

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _RELUS and self.smoothing and (z := args[0] if args else kwargs["input"]).ndim:
            if func not in _IN_PLACE and not kwargs.get("inplace"):
                return _SmoothReLU.apply(z, self.smoothing)
            return z.copy_(_SmoothReLU.apply(z.clone(), self.smoothing))
        if func in _STEPS and (z := args[0] if args else kwargs["input"]).requires_grad:
            return z + (func(*args, **kwargs) - z).detach()
        return func(*args, **kwargs)


class _SmoothReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, smoothing: float) -> Tensor:
        ctx.save_for_backward(z)
        ctx.smoothing = smoothing
        return z.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors
        width = ctx.smoothing * z.abs().reshape(len(z), -1).mean(1).view(-1, *[1] * (z.ndim - 1))
        return gradients[0] * torch.sigmoid(z / width.clamp_min(torch.finfo(z.dtype).tiny)), None
