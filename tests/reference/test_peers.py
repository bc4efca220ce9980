"""The same attack in other libraries, from the same start, gives the same images."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.storage.results import Task

EPS, STEP, STEPS = 0.15, 0.03, 10
OURS = lp.attacks.PGD(lp.Linf(EPS), step_size=STEP, steps=STEPS, random_start=False).without_early_stop()


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


def foolbox_images(foolbox: types.ModuleType, peer: object, model: nn.Module, x: Tensor, criterion: object, eps: float) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peer(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, criterion, epsilons=eps)[1]


def test_agrees_with_foolbox(trained: nn.Module, sample: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    foolbox = foolbox_module(monkeypatch)
    x, y = sample
    peer = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False)
    agree(OURS(trained, x, y), foolbox_images(foolbox, peer, trained, x, y, EPS), trained, y)


def test_agrees_with_foolbox_on_one_step(trained: nn.Module, sample: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    foolbox = foolbox_module(monkeypatch)
    x, y = sample
    theirs = foolbox_images(foolbox, foolbox.attacks.LinfFastGradientAttack(), trained, x, y, EPS)
    agree(lp.attacks.fgsm(lp.Linf(EPS)).without_early_stop()(trained, x, y), theirs, trained, y)


@pytest.mark.parametrize("steps", [1, STEPS])
def test_agrees_with_foolbox_in_l2_where_the_box_is_not_met(
    steps: int, trained: nn.Module, sample: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is, foolbox clips a point of the ball, which is not the nearest in both."""
    foolbox = foolbox_module(monkeypatch)
    x, y, eps = 0.2 + 0.6 * sample[0], sample[1], 0.5
    peer = foolbox.attacks.L2PGD(abs_stepsize=eps / 4, steps=steps, random_start=False)
    ours = lp.attacks.bim(lp.L2(eps), step_size=eps / 4, steps=steps).without_early_stop()(trained, x, y)
    assert 0 < ours.min()
    assert ours.max() < 1
    agree(ours, foolbox_images(foolbox, peer, trained, x, y, eps), trained, y)


@pytest.mark.parametrize(("name", "steps"), [("step_ll", 1), ("iter_ll", STEPS)])
def test_agrees_with_foolbox_on_a_least_likely_target(
    name: str, steps: int, trained: nn.Module, sample: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    foolbox = foolbox_module(monkeypatch)
    x, y = sample
    eps, step_size = 2 * EPS, 2 * EPS if steps == 1 else 2 * STEP
    aim = foolbox.criteria.TargetedMisclassification(trained(x).scatter(1, y[:, None], torch.inf).argmin(1))
    peer = foolbox.attacks.LinfPGD(abs_stepsize=step_size, steps=steps, random_start=False)
    attack = lp.attacks.paper_suite(eps=eps, step_size=step_size, steps=steps)[name].without_early_stop()
    agree(attack(trained, x, y), foolbox_images(foolbox, peer, trained, x, aim, eps), trained, y)


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
    agree(attack.without_early_stop()(trained, x, y), peer(x, aim), trained, y)


def test_agrees_with_torchattacks_on_one_step(trained: nn.Module, sample: tuple[Tensor, Tensor]) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    agree(lp.attacks.fgsm(lp.Linf(EPS)).without_early_stop()(trained, x, y), torchattacks.FGSM(trained, eps=EPS)(x, y), trained, y)


def test_agrees_with_torchattacks_on_the_basic_iterative_method(trained: nn.Module, sample: tuple[Tensor, Tensor]) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    ours = lp.attacks.bim(lp.Linf(EPS), step_size=STEP, steps=STEPS).without_early_stop()(trained, x, y)
    agree(ours, torchattacks.BIM(trained, eps=EPS, alpha=STEP, steps=STEPS)(x, y), trained, y)


@pytest.mark.parametrize("targeted", [False, True])
def test_agrees_with_torchattacks_on_a_random_signed_step(
    targeted: bool, trained: nn.Module, sample: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    eps = 2 * EPS
    attack = lp.attacks.r_step(lp.Linf(eps), target=lp.attacks.LeastLikely() if targeted else None).without_early_stop()
    ours = attack(trained, x, y, generator=torch.Generator().manual_seed(0))
    peer = torchattacks.RFGSM(trained, eps=eps, alpha=eps / 2, steps=1)
    if targeted:
        peer.set_mode_targeted_by_label(quiet=True)
    same = torch.special.ndtri(torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    monkeypatch.setattr(torch, "randn_like", lambda images: same)
    agree(ours, peer(x, trained(x).scatter(1, y[:, None], torch.inf).argmin(1) if targeted else y), trained, y)


def test_stopping_when_broken_is_at_least_as_strong_as_the_peers_last_iterate(trained: nn.Module, sample: tuple[Tensor, Tensor]) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    theirs = torchattacks.PGD(trained, eps=EPS, alpha=STEP, steps=STEPS, random_start=False)(x, y)
    ours = lp.attacks.PGD(lp.Linf(EPS), step_size=STEP, steps=STEPS, random_start=False)(trained, x, y)
    broken_by_them, broken_by_us = (trained(images).argmax(1) != y for images in (theirs, ours))
    assert (broken_by_us | ~broken_by_them).all()


def test_the_benchmark_of_agreement_computes_in_full_precision(
    trained: nn.Module, sample: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foolbox_module(monkeypatch)
    pytest.importorskip("torchattacks")
    spec = importlib.util.spec_from_file_location("agreement", Path(__file__).parents[2] / "benchmarks" / "agreement.py")
    assert spec
    assert spec.loader
    agreement = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(agreement)
    seen = []

    def attacker(x: Tensor, y: Tensor, start: int) -> Tensor:
        seen.append(torch.backends.mkldnn.matmul.fp32_precision)
        return x

    task = EvaluationTask(model=trained, test=sample, record=Task(step=1))
    monkeypatch.setattr(agreement.EvaluationTask, "from_run", lambda *_, **__: task)
    monkeypatch.setattr(agreement, "build", lambda *_: {"ours": attacker})
    monkeypatch.setattr(sys, "argv", ["agreement.py", "run", "--device", "cpu", "--out", str(tmp_path / "out.json")])
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        agreement.main()
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == ["ieee"]
    assert json.loads((tmp_path / "out.json").read_text())["accuracy"]["ours"]["total"] == 100


def test_attacks_of_other_libraries_run_as_ours(trained: nn.Module, sample: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    foolbox, torchattacks = foolbox_module(monkeypatch), pytest.importorskip("torchattacks")
    evasion = pytest.importorskip("art.attacks.evasion")
    sized = {"steps": STEPS, "random_start": False}
    functions = {
        "foolbox": lambda model, x, y, threat: foolbox.attacks.LinfPGD(abs_stepsize=STEP, **sized)(
            lp.as_foolbox(model), x, y, epsilons=threat.eps
        )[1],
        "torchattacks": lambda model, x, y, threat: torchattacks.PGD(model, eps=threat.eps, alpha=STEP, **sized)(x, y),
        "art": lambda model, x, y, threat: evasion.ProjectedGradientDescentPyTorch(
            lp.as_art(model, (1, 8, 8)), eps=threat.eps, eps_step=STEP, max_iter=STEPS, verbose=False
        ).generate(x.numpy(), y.numpy()),
    }
    attacks = {name: lp.attacks.External(lp.Linf(EPS), attack=function) for name, function in functions.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = lp.evaluate(trained, sample, attacks=attacks | {"ours": OURS}).record
    correct = {name: attack.correct for name, attack in record.attacks.items()}
    assert 0 < correct["ours"] < record.clean.correct
    assert set(correct.values()) == {correct["ours"]}
    for name in functions:
        assert record.attacks[name].gradient_evaluations_per_example == pytest.approx(STEPS, abs=1)
