"""Attacks and objectives as plain values."""

from __future__ import annotations

import json

import numpy as np
import torch
import yaml

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
