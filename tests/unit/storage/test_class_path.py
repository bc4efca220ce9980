"""Attacks and objectives as plain values."""

from __future__ import annotations

import copy
import json
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import logitpair as lp
from logitpair.storage.class_path import describe


def test_an_attack_is_written_as_a_recipe_writes_it() -> None:
    attack = lp.attacks.PGD(
        lp.Linf(0.3), step_size=0.01, steps=40, target=lp.attacks.LeastLikely(), loss=lp.losses.misclassification_margin
    )
    assert describe(attack) == {
        "class_path": "logitpair.attacks.PGD",
        "init_args": {
            "threat": {"class_path": "logitpair.threat.Linf", "init_args": {"eps": 0.3}},
            "step_size": 0.01,
            "steps": 40,
            "random_start": True,
            "restarts": 1,
            "target": {"class_path": "logitpair.attacks.LeastLikely", "init_args": {}},
            "loss": "logitpair.losses.misclassification_margin",
            "early_stop": True,
        },
    }


def test_what_comes_out_is_json_and_yaml() -> None:
    attack = lp.attacks.PGD(lp.Linf(0.3), step_size=0.01, steps=40)
    described = describe({"objective": lp.objectives.AdversarialLogitPairing(attack), "curve": (0, 0.1), "none": None, "flag": False})
    assert json.loads(json.dumps(described)) == described
    assert yaml.safe_load(yaml.safe_dump(described)) == described
    assert described["curve"] == [0, 0.1]
    assert described["flag"] is False


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    values = {"float32": np.float32(0.25), "int64": np.int64(3), "tensor": torch.tensor(3), "true": np.bool_(True)}
    assert json.dumps(describe(values)) == '{"float32": 0.25, "int64": 3, "tensor": 3, "true": true}'
    assert type(describe(np.float64(0.25))) is float, "a record is written by what takes Python's own types alone"


@dataclass
class Held:
    """Something with a name that holds anything."""

    thing: Any


class Scaling:
    """A callable object."""

    def __init__(self, factor: Any) -> None:
        self.factor = factor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def linear(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(2, 2)


MASK, MOVED = torch.zeros(50, 50), torch.zeros(50, 50).index_put((torch.tensor(25), torch.tensor(25)), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        (MASK, MOVED, "torch.Tensor"),
        (torch.tensor([0.12345678]), torch.tensor([0.12345671]), "torch.Tensor"),
        (MASK.numpy(), MOVED.numpy(), "numpy.ndarray"),
        (linear(0), linear(1), "torch.nn.modules.Linear"),
        (linear(0).forward, linear(1).forward, "torch.nn.modules.linear.Linear.forward"),
        (Scaling(1), Scaling(2), f"{__name__}.Scaling"),
        (Scaling([1]), Scaling([2]), f"{__name__}.Scaling"),
        (Scaling(MASK), Scaling(MOVED), f"{__name__}.Scaling"),
        (Scaling(1).__call__, Scaling(2).__call__, f"{__name__}.Scaling.__call__"),
        (lambda x: x + 1, lambda x: x + 2, f"{__name__}.<lambda>"),
    ],
)
def test_what_has_no_path_of_its_own_is_told_from_others_of_its_kind(one: Any, other: Any, path: str) -> None:
    described = describe(Held(one))["init_args"]["thing"]
    assert described.partition("#")[0] == path
    assert described != describe(Held(other))["init_args"]["thing"]
    assert described == describe(Held(copy.deepcopy(one)))["init_args"]["thing"]


@pytest.mark.parametrize(
    ("thing", "path"),
    [
        (np.sin, "numpy.sin"),
        (len, "builtins.len"),
        (str.upper, "builtins.str.upper"),
        (nn.Linear, "torch.nn.modules.Linear"),
        (lp.losses.cross_entropy, "logitpair.losses.cross_entropy"),
    ],
)
def test_what_has_a_path_of_its_own_is_described_by_it(thing: Callable[..., Any], path: str) -> None:
    assert describe(thing) == path


def test_a_callable_of_another_language_is_described() -> None:
    assert describe(operator.itemgetter(1)).startswith("operator.itemgetter#")
