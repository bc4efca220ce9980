"""Whether an attack's passes may take other ways than PyTorch's own: what both engines, for the CPU and for GPUs, ask first."""

import os
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

ENGINE = "LOGITPAIR_ENGINE"  # "eager" leaves every operation to PyTorch; processes that are started inherit it


def is_eager() -> bool:
    """Whether every operation is left to PyTorch."""
    return os.environ.get(ENGINE) == "eager"


def is_transformed(*gradients: Tensor) -> bool:
    """Whether derivatives are taken by ``torch.func`` or in forward mode, or these gradients many at once: more than a backward pass."""
    functorch: Any = torch._C._functorch  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    active = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0  # pyright: ignore[reportPrivateUsage]
    return active or any(map(functorch.is_legacy_batchedtensor, gradients))


def plain_backward() -> bool:
    """Whether what is asked of an operation's gradient is a backward pass and nothing else."""
    # what torch.utils.checkpoint recomputes has to be what was computed, and torch.autograd.grad(loss, x) recomputes without any mode
    hooks: Any = torch._C._autograd  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    return not is_transformed() and hooks._top_saved_tensors_default_hooks(False) is None
