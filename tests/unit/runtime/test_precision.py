"""Full precision, whatever is set around it, and nothing left set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from logitpair.runtime.precision import full_precision

BACKENDS: Any = torch.backends
SWITCHES = (BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv)
CPU = torch.device("cpu")


def state() -> list[object]:
    return [*(switch.fp32_precision for switch in SWITCHES), BACKENDS.cudnn.benchmark, BACKENDS.cudnn.deterministic]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    everywhere, before = BACKENDS.fp32_precision, [switch.fp32_precision for switch in SWITCHES]
    yield
    torch.set_float32_matmul_precision("highest")
    BACKENDS.fp32_precision = everywhere
    for switch, precision in zip(SWITCHES, before, strict=True):
        switch.fp32_precision = precision


def everywhere(precision: str) -> None:
    BACKENDS.fp32_precision = precision


AROUND: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "tf32": lambda: everywhere("tf32"),
    "both": lambda: (torch.set_float32_matmul_precision("medium"), everywhere("tf32"))[1],
    "older": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
}


@pytest.mark.parametrize("around", AROUND)
def test_every_switch_is_off_inside_and_as_it_was_outside(around: str) -> None:
    AROUND[around]()
    before = state()
    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(CPU):
        assert [switch.fp32_precision for switch in SWITCHES] == ["ieee"] * 4
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert BACKENDS.cudnn.deterministic
        assert not BACKENDS.cudnn.benchmark
        with full_precision(CPU):
            pass
        assert [switch.fp32_precision for switch in SWITCHES] == ["ieee"] * 4
    assert state() == before
    with pytest.raises(ZeroDivisionError), full_precision(CPU):
        raise ZeroDivisionError
    assert state() == before


def test_what_is_computed_is_the_same() -> None:
    x, filters = torch.randn(64, 64), torch.randn(8, 4, 3, 3)
    images = torch.randn(4, 4, 16, 16)
    with full_precision(CPU):
        plain = x @ x, torch.nn.functional.conv2d(images, filters)
    torch.set_float32_matmul_precision("medium")
    everywhere("bf16")
    with full_precision(CPU):
        again = x @ x, torch.nn.functional.conv2d(images, filters)
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))
