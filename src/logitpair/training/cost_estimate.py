"""What a training run will cost: counted on a few images, scaled up to the whole run and to given GPUs."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from logitpair.config.run_config import RunConfig
from logitpair.errors import InputError, first_line
from logitpair.training.activation_checkpointing import checkpoint_activations
from logitpair.training.train_state import initial_state
from logitpair.validate import at_least, positive

GIB = 1024**3


@dataclass(frozen=True)
class GPU:
    """What a GPU can do at best, by its data sheet.

    Args:
        name: of the product.
        half: floating-point operations a second of matrix products in bfloat16 or float16, dense.
        single: of those in float32, without TF32.
        memory: in bytes.
        bfloat16: whether ``precision: auto`` computes in it there.
    """

    name: str
    half: float
    single: float
    memory: float
    bfloat16: bool = True


GPUS = {
    "p100": GPU("NVIDIA P100 (SXM2)", 21.2e12, 10.6e12, 16 * GIB, bfloat16=False),
    "v100": GPU("NVIDIA V100 (SXM2)", 125e12, 15.7e12, 32 * GIB, bfloat16=False),
    "t4": GPU("NVIDIA T4", 65e12, 8.1e12, 16 * GIB, bfloat16=False),
    "a100": GPU("NVIDIA A100 (SXM)", 312e12, 19.5e12, 80 * GIB),
    "l4": GPU("NVIDIA L4", 121e12, 30.3e12, 24 * GIB),
    "rtx4090": GPU("NVIDIA RTX 4090", 165e12, 82.6e12, 24 * GIB),
    "h100": GPU("NVIDIA H100 (SXM)", 989e12, 67e12, 80 * GIB),
    "h200": GPU("NVIDIA H200 (SXM)", 989e12, 67e12, 140 * GIB),
    "b200": GPU("NVIDIA B200", 2250e12, 75e12, 179 * GIB),
}
# Of the peak, by what is published of training ResNet-50: convolutional networks are bound by memory where matrix products are fast.
SHARE_HALF, SHARE_SINGLE = 0.2, 0.5
LAUNCH = 8e-6  # seconds in which the host starts an operation
ROOM = 0.9  # of the memory: the rest is the library's own and what lies between allocations


@dataclass(frozen=True)
class StepCost:
    """What one step of training costs, attack included.

    Args:
        flops: floating-point operations for each of its images, a multiplication with its addition counting as two.
        launches: operations that the host starts, whatever the number of images.
        activations: bytes of float32 numbers kept for backward passes at the most, for each of its images.
        others: bytes of whole numbers and masks kept with them.
        weights: bytes of parameters, gradients, the optimizer's state, the moving average and the buffers.
        parameters: numbers that are trained.
    """

    flops: float
    launches: int
    activations: float
    others: float
    weights: int
    parameters: int


@dataclass(frozen=True)
class RunCost:
    """What a whole run costs on given GPUs.

    Args:
        steps: of the optimizer.
        flops: of the whole run.
        half: whether it computes in 16 bits.
        share: of the GPU's peak that is taken to be reached.
        launched: whether starting the operations takes longer than computing them.
        images_per_second: training images of all GPUs together.
        seconds: of the whole run, validation and evaluation left out.
        memory: bytes on each GPU.
        largest_batch: images that would fit into all GPUs together.
    """

    steps: int
    flops: float
    half: bool
    share: float
    launched: bool
    images_per_second: float
    seconds: float
    memory: float
    largest_batch: int


class CountedFlops(TorchDispatchMode):
    """Within it, ``calls`` counts PyTorch's operations, and ``total`` the floating-point operations of matrix products and convolutions.

    The formulas are PyTorch's. Its ``FlopCounterMode`` counts by module, and its hooks forbid ``torch.autograd.grad``, by which attacks
    work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.calls += 1
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **kwargs, out_val=out)
        return out


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Within it, ``peak`` is the most bytes that autograd kept at a time for backward passes, each storage counted once; ``others`` of them
    are no floating-point numbers.

    Args:
        model: whose parameters are not counted.
    """

    def __init__(self, model: nn.Module) -> None:
        self.own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self.live: Counter[int] = Counter()
        self.now = self.whole = self.peak = self.others = 0
        super().__init__(self._pack, _unpack)

    def _pack(self, tensor: Tensor) -> Any:
        storage = tensor.untyped_storage()
        kept = _Kept(tensor)
        whole = 0 if tensor.is_floating_point() else storage.nbytes()
        if storage.data_ptr() not in self.own:
            if not self.live[storage.data_ptr()]:
                self.now += storage.nbytes()
                self.whole += whole
                if self.now > self.peak:
                    self.peak, self.others = self.now, self.whole
            self.live[storage.data_ptr()] += 1
            weakref.finalize(kept, self._release, storage.data_ptr(), storage.nbytes(), whole)
        return kept

    def _release(self, pointer: int, size: int, whole: int) -> None:
        self.live[pointer] -= 1
        if not self.live[pointer]:
            self.now -= size
            self.whole -= whole


class _Kept:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _unpack(kept: _Kept) -> Tensor:
    return kept.tensor


def step_cost(config: RunConfig, x: Tensor, y: Tensor) -> StepCost:
    """Take one step on these images, in float32 on the CPU, and count.

    It is the last step of training that is counted, when every warm-up is over. Attention is counted as two matrix products, its matrix
    of weights kept.

    Args:
        config: the run.
        x: a few images, ``[batch, channels, height, width]``; BatchNorm needs two.
        y: their labels, ``[batch]``.

    Raises:
        InputError: if the network does not take the images.
    """
    state = initial_state(config, x.device, resuming=False)
    config.objective.prepare(state.model, x)
    if config.activation_checkpointing:
        checkpoint_activations(state.model)
    objective = config.objective.at(config.epochs)
    generator = torch.Generator(x.device).manual_seed(config.seed)
    state.model.train()
    saved = SavedBytes(state.model)
    try:
        with sdpa_kernel(SDPBackend.MATH), CountedFlops() as counted, saved:
            objective(state.model, x, y, generator=generator).total.backward()
    except RuntimeError as error:
        raise InputError(f"model: a step on images {list(x.shape[1:])} fails ({first_line(error)})") from error
    state.optimizer.step()
    held = [*state.model.parameters(), *state.model.buffers(), *([] if state.ema is None else state.ema.parameters())]
    held += [p.grad for p in state.model.parameters() if p.grad is not None]
    held += [value for one in state.optimizer.state.values() for value in one.values() if isinstance(value, Tensor)]
    return StepCost(
        flops=counted.total / len(x),
        launches=counted.calls,
        activations=(saved.peak - saved.others) / len(x),
        others=saved.others / len(x),
        weights=sum(tensor.nbytes for tensor in held),
        parameters=sum(p.numel() for p in state.model.parameters() if p.requires_grad),
    )


def run_cost(
    config: RunConfig, step: StepCost, images: int, gpu: GPU, gpus: int, *, share: float | None = None, rate: float | None = None
) -> RunCost:
    """Scale one step's cost up to the run.

    Args:
        config: the run.
        step: what ``step_cost`` counted.
        images: of the training set.
        gpu: each of them.
        gpus: how many share each batch.
        share: of the GPU's peak that is reached; ``SHARE_HALF`` or ``SHARE_SINGLE`` by the run's precision if None.
        rate: measured training images a second of one GPU; it takes the place of ``share``.

    Raises:
        InputError: for no images, no GPUs, fewer images in a batch than GPUs, a share outside (0, 1] or a rate that is none.
    """
    at_least("--images", images, 1)
    at_least("--gpus", gpus, 1)
    if gpus > config.batch_size:
        raise InputError(f"--gpus: {gpus} is more than the batch of {config.batch_size} images")
    half = gpu.bfloat16 if config.precision == "auto" else config.precision != "float32"
    peak = gpu.half if half else gpu.single
    if share is None:
        share = SHARE_HALF if half else SHARE_SINGLE
    elif not 0 < share <= 1:
        raise InputError(f"--share must lie above 0 and be at most 1, not {share:g}")
    batch = math.ceil(config.batch_size / gpus)
    together = math.ceil(batch / config.accumulate)  # images on a GPU at a time
    launching = rate is None and LAUNCH * step.launches > together * step.flops / (share * peak)
    if rate is not None:
        positive("--rate", rate)
        share = rate * step.flops / peak
    elif launching:
        share = together * step.flops / (LAUNCH * step.launches * peak)
    total = config.epochs * images
    images_per_second = gpus * share * peak / step.flops
    kept = step.activations / (2 if half else 1) + step.others
    return RunCost(
        steps=max(1, round(config.epochs * math.ceil(images / config.batch_size))),
        flops=total * step.flops,
        half=half,
        share=share,
        launched=launching,
        images_per_second=images_per_second,
        seconds=total / images_per_second,
        memory=step.weights + kept * together,
        largest_batch=gpus * config.accumulate * max(0, int((ROOM * gpu.memory - step.weights) / kept)),
    )
