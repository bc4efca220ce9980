"""What a training run will cost: counted on a few images, scaled up to the whole run and to given GPUs."""

import math
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from logitpair.config.run_config import RunConfig
from logitpair.errors import InputError, first_line
from logitpair.runtime.flops import CountedFlops
from logitpair.training.activation_checkpointing import checkpoint_activations
from logitpair.training.train_state import initial_state
from logitpair.validate import at_least, positive

GIB = 1024**3


@dataclass(frozen=True)
class GPU:
    """What a GPU can do at best, by its data sheet."""

    name: str
    half: float  #: floating-point operations a second of matrix products in bfloat16 or float16, dense
    single: float  #: of those in float32, without TF32
    memory: float  #: in bytes
    bfloat16: bool = True  #: whether ``precision: auto`` computes in it there


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
    """What one step of training costs, attack included."""

    flops: float  #: floating-point operations for each of its images, a multiplication with its addition counting as two
    launches: int  #: operations that the host starts, whatever the number of images
    activations: float  #: bytes of float32 numbers kept for backward passes at the most, for each of its images
    others: float  #: bytes of whole numbers and masks kept with them
    weights: int  #: bytes of parameters, gradients, the optimizer's state, the moving average and the buffers
    parameters: int  #: numbers that are trained


@dataclass(frozen=True)
class RunCost:
    """What a whole run costs on given GPUs."""

    steps: int  #: of the optimizer
    flops: float  #: of the whole run
    half: bool  #: whether it computes in 16 bits
    share: float  #: of the GPU's peak that is taken to be reached
    launched: bool  #: whether starting the operations takes longer than computing them
    images_per_second: float  #: training images of all GPUs together
    seconds: float  #: of the whole run, validation and evaluation left out
    memory: float  #: bytes on each GPU
    largest_batch: int  #: images that would fit into all GPUs together


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Counts the most bytes that autograd keeps at a time for backward passes (``peak``), each storage once and ``model``'s own not.

    ``others`` of them are no floating-point numbers.
    """

    def __init__(self, model: nn.Module) -> None:
        self.own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self.users: Counter[int] = Counter()  # saved tensors by their storage
        self.now = self.now_others = self.peak = self.others = 0
        super().__init__(self._pack, lambda saved: saved())

    def _pack(self, tensor: Tensor) -> Callable[[], Tensor]:
        def saved() -> Tensor:  # lives as long as autograd keeps it, which the tensor itself may outlive
            return tensor

        pointer, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        if pointer not in self.own:
            others = 0 if tensor.is_floating_point() else size
            self._count(pointer, 1, size, others)
            if self.now > self.peak:
                self.peak, self.others = self.now, self.now_others
            weakref.finalize(saved, self._count, pointer, -1, -size, -others)
        return saved

    def _count(self, pointer: int, change: int, size: int, others: int) -> None:
        """One saved tensor more or fewer; its bytes count with the first and the last of a storage."""
        self.users[pointer] += change
        if self.users[pointer] == max(change, 0):
            self.now, self.now_others = self.now + size, self.now_others + others


def step_cost(config: RunConfig, x: Tensor, y: Tensor) -> StepCost:
    """Count one step on a few images (BatchNorm needs two) and their labels, in float32: the last of training, every warm-up being over.

    Attention is counted as two matrix products, its matrix of weights kept.
    """
    state = initial_state(config, x.device, resuming=True)  # weights to begin with change no cost, and need not be there
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
    held += [parameter.grad for parameter in state.model.parameters() if parameter.grad is not None]
    held += [value for slots in state.optimizer.state.values() for value in slots.values() if isinstance(value, Tensor)]
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
    """Scale one step's cost up to a run over so many ``images`` an epoch, each batch shared by so many ``gpus``.

    ``share`` is the part of the GPU's peak that is reached, by the run's precision if None; a ``rate``, measured training images a second
    of one GPU, takes its place.
    """
    at_least("--images", images, 1)
    at_least("--gpus", gpus, 1)
    if gpus > config.batch_size:
        raise InputError(f"--gpus: {gpus} is more than the batch of {config.batch_size} images")
    if share is not None and not 0 < share <= 1:
        raise InputError(f"--share must lie above 0 and be at most 1, not {share:g}")
    half = gpu.bfloat16 if config.precision == "auto" else config.precision != "float32"
    peak = gpu.half if half else gpu.single
    share = share or (SHARE_HALF if half else SHARE_SINGLE)
    at_a_time = math.ceil(math.ceil(config.batch_size / gpus) / config.accumulate)  # images on a GPU
    launch = LAUNCH * step.launches
    launched = rate is None and launch > at_a_time * step.flops / (share * peak)
    if rate is not None:
        positive("--rate", rate)
        share = rate * step.flops / peak
    elif launched:
        share = at_a_time * step.flops / (launch * peak)
    total = config.epochs * images
    images_per_second = gpus * share * peak / step.flops
    kept = step.activations / (2 if half else 1) + step.others
    return RunCost(
        steps=max(1, round(config.epochs * math.ceil(images / config.batch_size))),
        flops=total * step.flops,
        half=half,
        share=share,
        launched=launched,
        images_per_second=images_per_second,
        seconds=total / images_per_second,
        memory=step.weights + kept * at_a_time,
        largest_batch=gpus * config.accumulate * max(0, int((ROOM * gpu.memory - step.weights) / kept)),
    )
