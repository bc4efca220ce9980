"""Networks as mixed-integer programmes, against another encoding, against their own forward pass, and where no ReLU is open."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import scipy.optimize
import torch
from bounded_networks import CLASSES, exact_margin, images, network, tiny
from torch import Tensor, nn

import logitpair as lp
from logitpair.bounds.operations import Interval
from logitpair.bounds.programme import Programme
from logitpair.bounds.read_graph import read_graph

OF_RELUS = ("fully_connected", "deep", "convolutions", "residual", "shared", "repeated")


def box(x: Tensor, eps: float) -> Interval:
    """The box around one image."""
    return Interval((x[0] - eps).clamp(min=0), (x[0] + eps).clamp(max=1))


@torch.no_grad()
@pytest.mark.parametrize("seed", range(6))
def test_the_maximum_is_that_of_another_encoding(seed: int) -> None:
    model, x = tiny(seed), images(1, seed, (1, 2, 3))
    y = int(model(x).argmax())
    programme = Programme(read_graph(model, x), box(x, 0.2))
    assert programme.free > 0
    margins = []
    for other in set(range(CLASSES)) - {y}:
        found = programme.maximum(torch.eye(CLASSES, dtype=x.dtype)[other] - torch.eye(CLASSES, dtype=x.dtype)[y], nodes=10**6)
        assert found is not None
        assert lp.Linf(0.2).contains(found[None], x)
        logits = model(found[None])[0]
        margins.append(float(logits[y] - logits[other]))
    assert min(margins) == pytest.approx(exact_margin(model, 0.2, x, y), abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", OF_RELUS)
def test_no_image_of_the_box_is_better_than_the_one_found(kind: str) -> None:
    model, x = network(kind), images(1)
    programme, weights = Programme(read_graph(model, x), box(x, 0.1)), torch.tensor([1.0, -2, 1], dtype=x.dtype)
    found = programme.maximum(weights, nodes=10**6)
    assert found is not None
    assert programme.free > 0
    lower, upper = box(x, 0.1)
    others = lower + (upper - lower) * torch.rand(2000, *lower.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0)).round()
    assert lp.Linf(0.1).contains(found[None], x)
    assert (model(found[None]) @ weights) > (model(others) @ weights).max() - 1e-6


@torch.no_grad()
def test_where_no_relu_is_open_the_corner_along_the_gradient_is_found() -> None:
    model, x = network("convolutions"), images(1).clamp(0.01, 0.99)
    programme, weights = Programme(read_graph(model, x), box(x, 1e-6)), torch.tensor([0.0, 1, -1], dtype=x.dtype)
    assert programme.free == 0
    with torch.enable_grad():
        moving = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((model(moving) @ weights).sum(), moving)
    found = programme.maximum(weights, nodes=1)
    assert found is not None
    torch.testing.assert_close(found, (x + 1e-6 * gradient.sign())[0], rtol=0, atol=1e-12)


@torch.no_grad()
def test_threads_that_solve_at_once_leave_standard_output_where_it_was() -> None:
    before, x = os.fstat(1), images(1, 0, (1, 2, 3))
    programme, weights = Programme(read_graph(tiny(0), x), box(x, 0.3)), torch.tensor([1.0, -1, 0], dtype=x.dtype)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: programme.maximum(weights, nodes=100), range(40)))
    assert os.path.samestat(os.fstat(1), before)
    assert all(image is not None and torch.equal(image, found[0]) for image in found)


def test_it_is_solved_where_standard_output_is_closed() -> None:
    code = (
        "import os; os.close(1)\nimport torch\nfrom logitpair.bounds.operations import Interval\n"
        "from logitpair.bounds.programme import Programme\nfrom logitpair.bounds.read_graph import read_graph\n"
        "x = torch.full((1, 1, 2, 2), 0.5)\nmodel = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))\n"
        "with torch.no_grad():\n"
        "    assert Programme(read_graph(model, x), Interval(x[0] - 0.1, x[0] + 0.1)).maximum(torch.ones(3), nodes=1) is not None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_solver_prints_is_not_seen(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does now and then, past Python: a record on standard output must stay one."""
    solved, x = scipy.optimize.milp, images(1, 0, (1, 2, 3))

    def loud(*given: Any, **options: Any) -> Any:
        os.write(1, b"HighsMipSolverData\n")
        ctypes.CDLL(None).printf(b"tmpSolver.run();\n")  # which waits in a buffer of C's own
        return solved(*given, **options)

    monkeypatch.setattr(scipy.optimize, "milp", loud)
    print("before")
    with torch.no_grad():
        assert Programme(read_graph(tiny(0), x), box(x, 0.3)).maximum(torch.tensor([1.0, -1, 0], dtype=x.dtype), nodes=3) is not None
    print("after")
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out == "before\nafter\n"


@torch.no_grad()
def test_a_programme_in_float32_is_that_of_float64_but_for_rounding() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.LeakyReLU(0.3), nn.Linear(5, CLASSES)), images(1, 0, (1, 2, 3))
    values = []
    for dtype in (torch.float32, torch.float64):
        model, weights = model.to(dtype), torch.tensor([1, -1, 0], dtype=dtype)
        found = Programme(read_graph(model, x.to(dtype)), box(x.to(dtype), 0.3)).maximum(weights, nodes=10**6)
        assert found is not None
        assert found.dtype == dtype
        values.append(float(model(found[None]) @ weights))
    assert values[0] == pytest.approx(values[1], abs=1e-5)
