"""The same attack in other libraries, from the same start, gives the same images."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp

EPS, STEP, STEPS = 0.15, 0.03, 10
OURS = lp.attacks.PGD(lp.Linf(EPS), step_size=STEP, steps=STEPS, random_start=False).exhaustive()


@pytest.fixture
def sample(digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return digits[0][:100], digits[1][:100]


def foolbox_module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """foolbox; what it imports only to download models may be missing."""
    pytest.importorskip("eagerpy")
    for name in ("git", "requests"):
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            stub = types.ModuleType(name)
            stub.Repo = stub.GitCommandError = None
            monkeypatch.setitem(sys.modules, name, stub)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("foolbox")


def agree(ours: Tensor, theirs: Tensor, model: nn.Module, y: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    accuracy = [(model(images).argmax(1) == y).sum().item() for images in (ours, theirs)]
    assert accuracy[0] == accuracy[1]
    assert 0 < accuracy[0] < len(y), "the attack must break some and not all, or agreement says little"


def test_agrees_with_foolbox(trained: nn.Module, sample: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    foolbox = foolbox_module(monkeypatch)
    x, y = sample
    peer = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peer(foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu"), x, y, epsilons=EPS)[1]
    agree(OURS(trained, x, y), theirs, trained, y)


def test_agrees_with_torchattacks(trained: nn.Module, sample: tuple[Tensor, Tensor]) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    theirs = torchattacks.PGD(trained, eps=EPS, alpha=STEP, steps=STEPS, random_start=False)(x, y)
    agree(OURS(trained, x, y), theirs, trained, y)


def test_agrees_with_torchattacks_on_a_least_likely_target(trained: nn.Module, sample: tuple[Tensor, Tensor]) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    aim = trained(x).scatter(1, y[:, None], torch.inf).argmin(1)
    peer = torchattacks.PGD(trained, eps=2 * EPS, alpha=2 * STEP, steps=STEPS, random_start=False)
    peer.set_mode_targeted_by_label(quiet=True)
    attack = lp.attacks.PGD(lp.Linf(2 * EPS), step_size=2 * STEP, steps=STEPS, random_start=False, target=lp.attacks.LeastLikely())
    agree(attack.exhaustive()(trained, x, y), peer(x, aim), trained, y)


def test_agrees_with_torchattacks_on_one_step(trained: nn.Module, sample: tuple[Tensor, Tensor]) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    ours = lp.attacks.PGD(lp.Linf(EPS), step_size=EPS, steps=1, random_start=False).exhaustive()(trained, x, y)
    agree(ours, torchattacks.FGSM(trained, eps=EPS)(x, y), trained, y)


def test_stopping_when_broken_is_at_least_as_strong_as_the_peers_last_iterate(trained: nn.Module, sample: tuple[Tensor, Tensor]) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    theirs = torchattacks.PGD(trained, eps=EPS, alpha=STEP, steps=STEPS, random_start=False)(x, y)
    ours = lp.attacks.PGD(lp.Linf(EPS), step_size=STEP, steps=STEPS, random_start=False)(trained, x, y)
    broken_by_them, broken_by_us = (trained(images).argmax(1) != y for images in (theirs, ours))
    assert (broken_by_us | ~broken_by_them).all()
