"""Which arithmetic a forward and backward pass runs in."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, get_args

import torch

from logitpair.errors import InputError

Precision = Literal["auto", "float32", "bfloat16", "float16"]


def resolve(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype that ``precision`` means on the device.

    ``auto`` is bfloat16 where the hardware computes it faster than float32 (CUDA from compute capability 8, CPUs with AMX or
    AVX-512 bf16 instructions), float32 elsewhere: without such instructions bfloat16 is emulated, many times slower.
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision: '{precision}' is none; accepted: {', '.join(get_args(Precision))}")
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        cpu: Any = torch.cpu  # has no public question for these instructions
        fast = device.type == "cpu" and (cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported())
    return torch.bfloat16 if fast else torch.float32


def name_of(precision: Precision, device: torch.device) -> str:
    """``resolve`` as text: ``bfloat16``."""
    return str(resolve(precision, device)).removeprefix("torch.")


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to the dtype; nothing for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=True)


@contextmanager
def full_precision(device: torch.device) -> Generator[None]:
    """Full precision whatever is set around it: no autocast, no TF32 or bfloat16 within float32, only deterministic convolutions."""
    backends: Any = torch.backends
    switches = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    before = [switch.fp32_precision for switch in switches]
    cudnn = torch.backends.cudnn
    chosen = cudnn.benchmark, cudnn.deterministic
    try:
        for switch in switches:  # and not the older allow_tf32, which raises where the two are mixed
            switch.fp32_precision = "ieee"
        cudnn.benchmark, cudnn.deterministic = False, True
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
        cudnn.benchmark, cudnn.deterministic = chosen
