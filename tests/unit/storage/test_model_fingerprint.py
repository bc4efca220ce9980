"""Networks are distinguished by their weights, settings and code, in the same way in every process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import logitpair as lp
from logitpair.attacks import PGD
from logitpair.storage.class_path import describe
from logitpair.storage.model_fingerprint import fingerprint, weights_of


class Net(nn.Module):
    """A network whose only setting is anything at all."""

    def __init__(self, setting: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 4))
        self.setting = setting

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


class Negated(Net):
    def forward(self, x: Tensor) -> Tensor:
        return -(x.flatten(1) @ self.weight.T)


@dataclass
class Settings:
    slope: float
    layers: tuple[int, ...]


class Slope:
    def __init__(self, slope: float) -> None:
        self.slope = slope


def scaled(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda z: factor * z


def wrapped(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda z: function(z)


def by_default(z: Tensor, factor: float = 1.0) -> Tensor:
    return factor * z


DIFFERENT = {
    "function": (F.relu, lambda z: -z),
    "lambdas": (lambda z: z, lambda z: -z),
    "constants": (lambda z: 2 * z, lambda z: 3 * z),
    "inner_functions": (lambda z: [2 * one for one in z], lambda z: [3 * one for one in z]),
    "closures": (scaled(1.0), scaled(-1.0)),
    "functions_around": (wrapped(scaled(2)), wrapped(by_default)),
    "builtins": (torch.relu, torch.tanh),
    "methods": (torch.Tensor.relu, torch.Tensor.tanh),
    "partial": (functools.partial(F.leaky_relu, negative_slope=0.1), functools.partial(F.leaky_relu, negative_slope=-1.0)),
    "numbers": (1, 2),
    "kinds": (1, True),
    "tuple": ((1, 2), (2, 1)),
    "list": ([1, [2]], [1, [3]]),
    "dict": ({"slope": 1.0}, {"slope": 2.0}),
    "functions_in_containers": ([F.relu, F.tanh], [F.tanh, F.relu]),
    "tensors": (torch.zeros(3), torch.ones(3)),
    "arrays": (np.zeros(3), np.ones(3)),
    "dataclass": (Settings(1.0, (1, 2)), Settings(1.0, (1, 3))),
    "objects": (Slope(1.0), Slope(2.0)),
    "types": (nn.ReLU, nn.Tanh),
    "modules_in_a_list": ([nn.ReLU()], [nn.Tanh()]),
    "paths": (Path("a"), Path("b")),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_networks_of_equal_weights_with_other_settings_differ(what: str) -> None:
    one, other = DIFFERENT[what]
    assert fingerprint(Net(one)) == fingerprint(Net(one))
    assert fingerprint(Net(one)) != fingerprint(Net(other))
    assert weights_of(Net(one)) == weights_of(Net(other))


def test_weights_buffers_and_the_code_of_forward_make_a_difference() -> None:
    net, other = Net(None), Net(None)
    with torch.no_grad():
        other.weight[1, 2] += 1e-6
    assert fingerprint(net) != fingerprint(Negated(None))
    assert fingerprint(net) != fingerprint(other)
    assert weights_of(net) != weights_of(other)
    one, two = (lp.models.Normalized(Net(None), [mean], [1.0]) for mean in (0.1, 0.2))
    assert weights_of(one) != weights_of(two)


def test_a_hook_makes_a_difference_and_the_mode_none() -> None:
    net = Net(None)
    before = fingerprint(net)
    assert fingerprint(net.eval()) == before
    net.register_forward_hook(lambda module, x, logits: -logits)
    assert fingerprint(net) != before


def test_the_order_of_the_modules_in_a_list_makes_a_difference() -> None:
    def net(order: tuple[int, int]) -> nn.Module:
        made = Net(None)
        made.first, made.second = nn.ReLU(), nn.Tanh()
        made.setting = [(made.first, made.second)[i] for i in order]
        return made

    assert fingerprint(net((0, 1))) == fingerprint(net((0, 1)))
    assert fingerprint(net((0, 1))) != fingerprint(net((1, 0)))


def test_a_network_that_holds_itself_and_what_is_filled_while_it_runs() -> None:
    calls: list[int] = []
    net = Net(lambda z: calls.append(1))
    net.above = [net]
    before = fingerprint(net)
    net.setting(None)
    assert fingerprint(net) == before


REACHED = """
import functools
import helpers
import torch
from torch import nn

SCALE, MEANS, SETTINGS = 1.0, [0.5, 0.5], {"shift": 0.0}

class Shift:
    def __call__(self, z):
        return z + 0.25

class Gate:
    slope = 0.75
    def of(self, z):
        return self.slope * z

@functools.lru_cache
def factor(power):
    return 10 ** power

def inner(z):
    return z - MEANS[0] + SETTINGS["shift"]

def helper(z):
    return SCALE * inner(z) if len(z) else helper(z)  # it may call itself

class Base(nn.Module):
    def head(self, z):
        return 7 * z

class Net(Base):
    def __init__(self):
        super().__init__()
        self.shift, self.gate = Shift(), functools.partial(Gate.of, Gate())
    @property
    def size(self):
        return 8
    @torch.no_grad()
    def forward(self, x):
        return self.head(helper(self.shift(x))) + self.size + helpers.tail(x) + self.gate(x) + factor(2)
"""
TAIL = "def tail(z):\n    return z / 4\n"
CHANGES = [
    *(("SCALE, MEANS, SETTINGS = 1.0", "SCALE, MEANS, SETTINGS = 2.0"), ("[0.5, 0.5]", "[0.4, 0.5]"), ('"shift": 0.0', '"shift": 0.1')),
    *(("z + 0.25", "z - 0.25"), ("self.slope * z", "self.slope + z"), ("10 ** power", "11 ** power"), ("z - MEANS", "z + MEANS")),
    *(("SCALE * inner(z)", "SCALE - inner(z)"), ("7 * z", "6 * z"), ("return 8", "return 9"), ("z / 4", "z / 5")),
    *(("factor(2)", "factor(3)"), ("slope = 0.75", "slope = 0.5")),
]


def written(monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]) -> nn.Module:
    """The network of that text, with a change in it."""
    assert (REACHED + TAIL).count(change[0]) == 1
    helpers, module = types.ModuleType("helpers"), types.ModuleType("reached")
    exec(TAIL.replace(*change), vars(helpers))  # noqa: S102
    monkeypatch.setitem(sys.modules, "helpers", helpers)
    exec(REACHED.replace(*change), vars(module))  # noqa: S102
    return module.Net()


@pytest.mark.parametrize("change", CHANGES, ids=[after for _, after in CHANGES])
def test_all_that_forward_reaches_makes_a_difference(monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]) -> None:
    before = fingerprint(written(monkeypatch, ("7 * z", "7 * z")))
    assert fingerprint(written(monkeypatch, ("7 * z", "7 * z"))) == before
    assert fingerprint(written(monkeypatch, change)) != before


MODULE = """
import functools
import logging
from dataclasses import dataclass
import torch
from torch import nn
from torch.nn import functional as F

@dataclass
class Settings:
    slope: float

class Thing:
    pass

LOGGER, THING, WORDS = logging.getLogger(__name__), Thing(), {"x", "y", "z", "v", "w"}

def known(kind):  # the order of a set among the constants changes from process to process
    return kind in {"a", "b", "c", "d"} or (lambda: 3)()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        nn.init.ones_(self.layer.weight), nn.init.zeros_(self.layer.bias)
        self.things = {"b": F.relu, "a": lambda z: [one for one in z], "c": {"x", "y", "z"}, "d": (known, Thing(), Settings(1.0))}
        self.act = functools.partial(F.leaky_relu, negative_slope=0.1)
        self.register_forward_hook(lambda *_: None)
    def forward(self, x):
        LOGGER.debug(WORDS), F.dropout(THING and x)
        return self.act(self.layer(x)) if known(x) else Thing
"""
PRINT = """
import my_nets
from logitpair.storage.model_fingerprint import fingerprint
from logitpair.storage.class_path import describe
print(fingerprint(my_nets.Net()), describe(lambda z: (lambda: z)()))
"""


def test_it_is_the_same_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(MODULE)
    path = os.pathsep.join([str(tmp_path), str(Path(lp.__file__).parents[1])])
    printed = [
        subprocess.run(
            [sys.executable, "-c", PRINT],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert len(printed[0].split()[0]) == 64


def test_compiled_it_is_the_same_wherever_it_lies() -> None:
    one, other = torch.compile(Net(F.relu)), torch.compile(Net(F.relu))  # each notes an address
    assert fingerprint(one) == fingerprint(other)


def test_functions_without_a_name_are_described_by_their_code() -> None:
    losses = [scaled(1.0), scaled(2.0), lambda logits, y: logits.sum(1)]
    described = [describe(PGD(lp.Linf(0.1), step_size=0.1, steps=1, loss=loss))["init_args"]["loss"] for loss in losses]
    assert len(set(described)) == 3
