"""RobustBench's zoo, whose package is stood in for by one with its function's signature."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from torch import nn

from logitpair import InputError
from logitpair.models import PreActResNet18, preprocessing, read_model


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the zoo was asked for; it knows Rice2020Overfitting and a network that cannot be fetched."""
    calls: list[dict[str, Any]] = []

    def load_model(
        model_name: str,
        model_dir: str = "./models",
        dataset: str = "cifar10",
        threat_model: str = "Linf",
        custom_checkpoint: str = "",
        norm: str | None = None,
    ) -> nn.Module:
        calls.append({"model_name": model_name, "dataset": dataset, "threat_model": threat_model})
        if model_name == "Unreachable":
            raise OSError("Failed to download\nfrom a drive")
        return {"Rice2020Overfitting": PreActResNet18}[model_name]()

    package, utils = types.ModuleType("robustbench"), types.ModuleType("robustbench.utils")
    utils.load_model = load_model
    monkeypatch.setitem(sys.modules, "robustbench", package)
    monkeypatch.setitem(sys.modules, "robustbench.utils", utils)
    return calls


def test_a_name_is_looked_up_for_cifar_10_unless_it_says_otherwise(asked: list[dict[str, Any]]) -> None:
    model = read_model("robustbench:Rice2020Overfitting")
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    assert not model.training
    read_model("robustbench:cifar100/L2/Rice2020Overfitting")
    assert [(call["dataset"], call["threat_model"]) for call in asked] == [("cifar10", "Linf"), ("cifar100", "L2")]
    sizes = [preprocessing(f"robustbench:{name}").size for name in ("Rice2020Overfitting", "imagenet/Linf/Salman2020Do_R18")]
    assert sizes == [32, 224]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("robustbench:Nobody2020Nothing", "has no 'Nobody2020Nothing' for cifar10 and Linf"),
        ("robustbench:Unreachable", "raised OSError: Failed to download from a drive"),
        ("robustbench:", "is not accepted"),
        ("robustbench:cifar10/Rice2020Overfitting", "is not accepted"),
    ],
)
def test_what_the_zoo_does_not_have_is_one_line(asked: list[dict[str, Any]], name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^--model: .*{message}.*; accepted: robustbench:NAME") as refused:
        read_model(name)
    assert "\n" not in str(refused.value)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robustbench", None)
    with pytest.raises(InputError, match=r"^--model: .*pip install 'logitpair\[robustbench\]'$"):
        read_model("robustbench:Rice2020Overfitting")


def test_options_that_the_zoo_sets_itself_are_refused(asked: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="^--mean, --std"):
        read_model("robustbench:Rice2020Overfitting", mean=[0.5], std=[0.5])
    with pytest.raises(InputError, match="^--pretrained"):
        read_model("robustbench:Rice2020Overfitting", pretrained=True)
    assert not asked
