"""Less memory for more time: activations that are computed again when the backward pass needs them."""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from logitpair.errors import InputError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def checkpoint_activations(model: nn.Module) -> None:
    """Let the model's stages keep only their inputs, in any forward that a backward pass may follow, and run again in that pass.

    The stages are the children of the network (of the one inside, where it is wrapped), and those of its ``Sequential`` and
    ``ModuleList`` children, that are made of several modules: the blocks of a residual network, say. Outputs, gradients and BatchNorm
    statistics are exactly those without: random numbers are drawn again as they were, and BatchNorm's running statistics do not
    move in the second run. Other layers whose buffers change in a forward (spectral normalisation) would change them twice.
    ``forward`` of the stages is replaced, so that a copy made afterwards would run those of the original.

    Source: Chen et al. 2016, arXiv 1604.06174.
    """
    found = list(stages(model))
    if not found:
        raise InputError("activation_checkpointing: the network has no stages of several modules each; accepted: False")
    for stage in found:
        stage.forward = partial(_run, stage, stage.forward)


def stages(model: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a network that are checkpointed one by one."""
    children = list(model.children())
    while len(children) == 1:  # a wrapper
        children = list(children[0].children())
    for child in children:
        for stage in child.children() if isinstance(child, nn.Sequential | nn.ModuleList) else [child]:
            if sum(1 for _ in stage.modules()) > 2:
                yield stage


def _run(stage: nn.Module, forward: Any, *inputs: Any, **named: Any) -> Any:
    needed = torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in (*inputs, *stage.parameters()))
    if not needed:
        return forward(*inputs, **named)
    contexts = nullcontext(), _FrozenStatistics(stage)  # of the first run, and of the second
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=lambda: contexts, **named)


class _FrozenStatistics:
    """While entered, the running statistics of BatchNorm are not moved: momentum 0 gives the old ones back, to the last bit."""

    def __init__(self, stage: nn.Module) -> None:
        self.norms = [module for module in stage.modules() if isinstance(module, BATCH_NORMS)]

    def __enter__(self) -> None:
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]
        for norm in self.norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for norm, (momentum, tracked) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
