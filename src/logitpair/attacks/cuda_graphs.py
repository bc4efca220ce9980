"""An attack's passes on a GPU as CUDA graphs: a small network's operations take the host longer to launch than the GPU to do."""

import logging
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as every_module

from logitpair.attacks.engine import is_eager, is_transformed, plain_backward
from logitpair.errors import first_line
from logitpair.runtime.distributed import has_joined

logger = logging.getLogger("logitpair")
ENOUGH = 10  # passes on one shape before it is captured, which takes about as long as so many
TF32_EPS, FLOAT32_EPS = 2.0**-10, 2.0**-16  # to which sums of products come out alike: each in fewer bits, or in another order
KEPT = 4  # shapes of a network that are held captured, each with the activations of a pass


class CUDAGraphs:
    """A network's passes in one search: called with images that a gradient is asked for, gives their logits.

    A shape that the network has often been given is captured, forward and backward pass, and from then on replayed: two launches for all
    that the network does. The same operations run on the same numbers, so that nothing changes but for rounding. What is captured is held
    as long as the network, whose weights may change in place, as training changes them.

    Left to PyTorch are networks whose passes a graph could not repeat: that draw random numbers, wait for the GPU, have hooks, or of whose
    tensors one was replaced; networks that keep the GPU busier than the host; every pass within a ``TorchFunctionMode`` or the like; and
    all where the environment says ``LOGITPAIR_ENGINE=eager``. A network may also answer by what only Python sees: the first pass of each
    search is compared with the network's own, logits and gradient, and a network that has become another is not replayed again.

    Args:
        model: frozen and in eval mode, as long as the search lasts.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.compared = set[Any]()

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of ``x``, by a replay or by the network."""
        if not replayable(x) or self.state is None or self.known.refused:
            return self.model(x)
        known = self.known
        known.come_to(self.state)
        key = x.shape, x.stride(), x.dtype
        if key not in known.passes and not known.captures(key, self.model, x):
            return self.model(x)
        if key not in self.compared:
            self.compared.add(key)
            if not agree(self.model, known.passes[key], x):
                known.refuse("its passes are no longer those that were captured")
                return self.model(x)
        return known.passes[key](self.model, x)

    @cached_property
    def known(self) -> "_Network":
        """What earlier searches have found out."""
        return networks.setdefault(self.model, _Network())

    @cached_property
    def state(self) -> tuple[Any, ...] | None:
        """What a captured pass depends on beside the images, at the first pass of the search; None where the network is none to capture."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        if any(tensor.requires_grad for tensor in tensors) or not _is_plain(self.model):
            return None
        return *_arithmetic(), *(tensor.data_ptr() for tensor in tensors)


@dataclass
class _Network:
    """What is known of a network in one state: how often it was given a shape, and what is captured of it."""

    refused: bool = False
    state: tuple[Any, ...] = ()
    seen: Counter[Any] = field(default_factory=Counter[Any])
    passes: dict[Any, "Passes"] = field(default_factory=dict[Any, "Passes"])

    def come_to(self, state: tuple[Any, ...]) -> None:
        """Forget another state, whose tensors may be gone."""
        if state != self.state:
            self.state, self.seen, self.passes = state, Counter(), {}

    def captures(self, key: Any, model: nn.Module, x: Tensor) -> bool:
        """Note that images like these came again; whether the network's passes on them are captured by now."""
        self.seen[key] += 1
        if self.seen[key] != ENOUGH + 1:  # or decided before
            return False
        try:
            if not is_worthwhile(model, x):
                return False
            passes = Passes.of(model, x)
        except Exception as error:  # a user's network may do anything; what it raises by itself it will raise again
            self.refuse(first_line(error))
            return False
        self.passes = dict([*list(self.passes.items())[1 - KEPT :], (key, passes)])
        self.seen.clear()  # what is dropped may come again
        return True

    def refuse(self, reason: str) -> None:
        """Leave this network to PyTorch for good."""
        logger.debug(f"attacks run the network without CUDA graphs: {reason}")
        self.refused = True
        self.passes.clear()


networks: WeakKeyDictionary[nn.Module, _Network] = WeakKeyDictionary()
"""What is known of each network that an attack has met on a GPU, as long as it lives."""


def agree(model: nn.Module, passes: "Passes", x: Tensor) -> bool:
    """Whether a replay gives the network's own logits and gradient, as far as rounding goes."""

    def asked(function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        leaf = x.detach().clone().requires_grad_()
        logits = function(leaf)
        upstream = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype, device=x.device).view_as(logits)
        return logits.detach(), torch.autograd.grad(logits, leaf, upstream)[0]

    (logits, gradient), (own_logits, own_gradient) = asked(lambda leaf: passes(model, leaf)), asked(model)
    unit = max(torch.finfo(logits.dtype).eps, TF32_EPS if _may_round_products() else FLOAT32_EPS)

    def close(found: Tensor, expected: Tensor, scale: Tensor) -> bool:
        return torch.allclose(found, expected, rtol=4 * unit, atol=4 * unit * float(scale), equal_nan=True)

    # a class that is masked by a huge number is no scale for the others, and most of a gradient may be zero
    return close(logits, own_logits, own_logits.abs().nanmedian()) and close(gradient, own_gradient, own_gradient.abs().nanmean())


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

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        """The logits of ``x``, with a gradient; ``model`` is the network, which gives a gradient's gradient, or many at once."""
        return _Replay.apply(x, self, model)

    def run(self, x: Tensor) -> int:
        """Replay the forward pass on ``x``; returns its number."""
        self.images.copy_(x)
        self.forward()
        self.number += 1
        return self.number


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, passes: Passes, model: nn.Module) -> Tensor:
        ctx.save_for_backward(x)
        ctx.passes, ctx.number, ctx.model = passes, passes.run(x), model
        return passes.logits.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        ((x,), passes), (upstream,) = (ctx.saved_tensors, ctx.passes), gradients
        differentiable = torch.is_grad_enabled()
        if differentiable or is_transformed(upstream):
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(ctx.model(x), x, upstream, create_graph=differentiable)
            return gradient, None, None
        if ctx.number != passes.number:  # the activations are of other images by now
            ctx.number = passes.run(x)
        passes.upstream.copy_(upstream)
        passes.backward()
        return passes.gradient.clone(), None, None


def replayable(x: Tensor) -> bool:
    """Whether a pass on these images asks no more than a graph gives: images of a GPU, logits and a backward pass."""
    modes = torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    return x.is_cuda and bool(len(x)) and not modes and plain_backward() and not is_eager()


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
        RuntimeError: for a network that waits for the GPU, or draws random numbers.
    """
    leaf = x.detach().clone().requires_grad_()
    torch.cuda.synchronize(x.device)
    before, began = random_states(x.device), time.perf_counter()
    with waiting_refused():
        torch.autograd.grad(model(leaf.clone()).sum(), leaf)
    launched = time.perf_counter() - began
    torch.cuda.synchronize(x.device)
    took = time.perf_counter() - began
    if random_states(x.device) != before:
        raise RuntimeError("it draws random numbers")
    return launched > took / 2


def random_states(device: torch.device) -> list[object]:
    """Where the generators are that a network may draw from: Python's, NumPy's and PyTorch's on the CPU and the device."""
    drawn = [torch.cuda.default_generators[device.index].get_offset()] if device.type == "cuda" else []
    _, words, position, *_ = np.random.get_state()
    return [random.getstate(), list(words), position, torch.get_rng_state().tolist(), *drawn]


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
        torch.are_deterministic_algorithms_enabled(),
        backends.cudnn.conv.fp32_precision,
        backends.cuda.matmul.fp32_precision,
    )


def _may_round_products() -> bool:
    """Whether float32 may be multiplied in fewer bits."""
    backends: Any = torch.backends
    return {backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision} != {"ieee"}


def _is_plain(model: nn.Module) -> bool:
    """Whether a pass is what the modules' own ``forward`` does: no hooks, nothing compiled, no other devices or processes."""
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    return not (
        has_joined()
        or every_module._has_any_global_hook()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        or any(getattr(module, name) for module in model.modules() for name in hooks)
        or any(isinstance(module, nn.DataParallel) or hasattr(module, "_orig_mod") for module in model.modules())
    )
