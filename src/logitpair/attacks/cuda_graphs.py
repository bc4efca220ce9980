"""An attack's passes on a GPU as CUDA graphs: a small network's operations take the host longer to launch than the GPU to do."""

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules import module as every_module

from logitpair.attacks.cpu_kernels import ENGINE, plain_backward
from logitpair.runtime.distributed import has_joined

ENOUGH = 10  # passes on one shape before it is captured, which takes about as long as so many
TF32_EPS = 2.0**-10  # to which products of float32 may be rounded
KEPT = 4  # shapes of a network that are held captured, each with the activations of a pass


class CUDAGraphs:
    """A network's passes in one search: called with images that a gradient is asked for, gives their logits.

    A shape that the network has often been given is captured, forward and backward pass, and from then on replayed: two launches for all
    that the network does. The same operations run on the same numbers, so that nothing changes but for rounding. What is captured is held
    as long as the network, whose weights may change in place, as training changes them.

    Left to PyTorch are networks whose passes a graph could not repeat: that draw random numbers, wait for the GPU, have hooks, or of whose
    tensors one was replaced; networks that keep the GPU busier than the host; every pass within a ``TorchFunctionMode`` or the like; and
    all where the environment says ``LOGITPAIR_ENGINE=eager``. A network may also answer by what only Python sees: the first replay of each
    search is compared with the network itself, and one that is not the same is dropped for good.

    Args:
        model: frozen and in eval mode, as long as the search lasts.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.compared = set[Any]()

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of ``x``, by a replay or by the network."""
        known = networks.setdefault(self.model, _Network())
        if known.refused or not replayable(x) or self.state is None:
            return self.model(x)
        key = self.state, x.shape, x.stride(), x.dtype
        if key not in known.passes and not known.captures(key, self.model, x):
            return self.model(x)
        logits = known.passes[key](x)
        if key not in self.compared:
            self.compared.add(key)
            logits = known.compared(self.model, x, logits)
        return logits

    @cached_property
    def state(self) -> tuple[Any, ...] | None:
        """What a captured pass depends on beside the images, at the first pass of the search; None where the network is none to capture."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        if any(tensor.requires_grad for tensor in tensors) or not _is_plain(self.model):
            return None
        return *_arithmetic(), *(tensor.data_ptr() for tensor in tensors)


@dataclass
class _Network:
    """What is known of a network: how often it was given a shape, and what is captured of it."""

    refused: bool = False
    seen: Counter[Any] = field(default_factory=Counter[Any])
    passes: dict[Any, "Passes"] = field(default_factory=dict[Any, "Passes"])

    def captures(self, key: Any, model: nn.Module, x: Tensor) -> bool:
        """Note that images like these came again; whether the network's passes on them are captured by now."""
        self.seen[key] += 1
        if self.seen[key] != ENOUGH + 1:  # or decided before
            return False
        try:
            if not is_worthwhile(model, x):
                return False
            passes = Passes.of(model, x)
        except Exception:  # a user's network may do anything; what it raises by itself it will raise again
            self.refused = True
            return False
        held = [(other, kept) for other, kept in self.passes.items() if other[0] == key[0]]  # not those whose tensors are gone
        self.passes = dict([*held[1 - KEPT :], (key, passes)])
        self.seen.clear()  # what is dropped may come again
        return True

    def compared(self, model: nn.Module, x: Tensor, logits: Tensor) -> Tensor:
        """These replayed logits, or where the network's own are others those, and no replay again."""
        own = model(x)
        unit = max(torch.finfo(own.dtype).eps, TF32_EPS)
        if torch.allclose(own, logits, rtol=0, atol=4 * unit * float(own.detach().abs().nan_to_num().max()), equal_nan=True):
            return logits
        self.refused = True
        self.passes.clear()
        return own


networks: WeakKeyDictionary[nn.Module, _Network] = WeakKeyDictionary()


class Passes:
    """A network's forward pass on images of one shape and its gradient for them, captured.

    Args:
        images, logits, upstream, gradient: what the graphs read and write, the same memory in every replay.
        forward, backward: replay them.
    """

    def __init__(self, images: Tensor, logits: Tensor, upstream: Tensor, gradient: Tensor, forward: Any, backward: Any) -> None:
        self.images, self.logits, self.upstream, self.gradient = images, logits, upstream, gradient
        self.forward, self.backward = forward, backward
        self.number = 0  # of forward replays: the activations are those of the last

    @classmethod
    def of(cls, model: nn.Module, x: Tensor) -> Self:
        """Capture them; a network whose logits have no gradient raises ``RuntimeError``."""
        images = (1 - x.detach()).requires_grad_()  # others than are searched now, so that a graph of nothing would be noticed
        kind, recorder = x.device.type, Recorder(x.device)
        with torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False):
            recorder.warm_up(lambda: torch.autograd.grad(model(images.clone()).sum(), images)[0])
            logits, forward = recorder.capture(lambda: model(images.clone()))
        upstream = torch.zeros_like(logits)
        # kept, so that the memory of activations is not taken for gradients: a backward pass may be replayed again
        gradient, backward = recorder.capture(lambda: torch.autograd.grad(logits, images, upstream, retain_graph=True)[0])
        return cls(images.detach(), logits.detach(), upstream, gradient, forward, backward)

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of ``x``, with a gradient."""
        return _Replay.apply(x, self)

    def run(self, x: Tensor) -> int:
        """Replay the forward pass on ``x``; returns its number."""
        self.images.copy_(x)
        self.forward()
        self.number += 1
        return self.number


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, passes: Passes) -> Tensor:
        ctx.save_for_backward(x)
        ctx.passes, ctx.number = passes, passes.run(x)
        return passes.logits.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        passes: Passes = ctx.passes
        if ctx.number != passes.number:  # the activations are of other images by now
            ctx.number = passes.run(*ctx.saved_tensors)
        passes.upstream.copy_(upstream[0])
        passes.backward()
        return passes.gradient.clone(), None


def replayable(x: Tensor) -> bool:
    """Whether a pass on these images asks no more than a graph gives: images of a GPU, logits and a backward pass."""
    modes = torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    return x.is_cuda and bool(len(x)) and not modes and plain_backward() and os.environ.get(ENGINE) != "eager"


class Recorder:
    """Captures graphs that share their memory, on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.pool = device, torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream(device)

    def warm_up(self, function: Callable[[], Tensor]) -> None:
        """Do it once, so that no library sets itself up within a graph."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            function()
        here.wait_stream(self.stream)

    def capture(self, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """A graph of what the function does on the GPU: its result, which every replay writes anew, and the replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            result = function()
        return result, graph.replay


def is_worthwhile(model: nn.Module, x: Tensor) -> bool:
    """Whether a pass and its gradient take the host longer than half of the time until they are done.

    Raises:
        RuntimeError: for a network that waits for the GPU, or draws random numbers on it.
    """
    leaf, generator = x.detach().clone().requires_grad_(), torch.cuda.default_generators[x.device.index]
    torch.cuda.synchronize(x.device)
    drawn, began = generator.get_offset(), time.perf_counter()
    with waiting_refused():
        torch.autograd.grad(model(leaf.clone()).sum(), leaf)
    launched = time.perf_counter() - began
    torch.cuda.synchronize(x.device)
    if generator.get_offset() != drawn:
        raise RuntimeError("the network draws random numbers")
    return launched > (time.perf_counter() - began) / 2


@contextmanager
def waiting_refused() -> Generator[None]:
    """A block in which an operation for whose result the host waits raises ``RuntimeError``."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _arithmetic() -> tuple[Any, ...]:
    """By which kernels operations are done."""
    backends: Any = torch.backends
    return (
        torch.is_autocast_enabled("cuda"),
        torch.get_autocast_dtype("cuda"),
        backends.cudnn.deterministic,
        backends.cudnn.conv.fp32_precision,
        backends.cuda.matmul.fp32_precision,
    )


def _is_plain(model: nn.Module) -> bool:
    """Whether a pass is what the modules' own ``forward`` does: no hooks, nothing compiled, no other devices or processes."""
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    return not (
        has_joined()
        or every_module._has_any_global_hook()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        or any(getattr(module, name) for module in model.modules() for name in hooks)
        or any(isinstance(module, nn.DataParallel) or hasattr(module, "_orig_mod") for module in model.modules())
    )
