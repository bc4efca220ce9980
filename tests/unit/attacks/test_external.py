"""Functions of others as attacks: what they return is verified, and their randomness is the generator's."""

from __future__ import annotations

import copy
import random

import foreign_attacks
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import External

BALL = lp.Linf(0.1)


def test_it_is_what_the_function_finds(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:40], digits[1][:40]
    ours = lp.attacks.fgsm(BALL).without_early_stop()(trained, x, y)
    attack = External(BALL, attack=foreign_attacks.signed_step)
    assert torch.equal(attack(trained, x, y), ours)
    found = attack.find(trained, x, y)
    assert found.gradients.sum() == 40
    assert found.forwards.sum() == 1, "one image, for the number of classes"


def test_what_lies_outside_is_brought_in(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:5], digits[1][:5]
    x_adv = External(BALL, attack=foreign_attacks.far_away)(trained, x, y)
    assert BALL.contains(x_adv, x).all()
    assert torch.equal(x_adv, (x + 0.1).clamp(max=1))


def test_images_of_no_numbers_are_found_nothing_which_is_said(
    trained: nn.Module, digits: tuple[Tensor, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    attack = External(BALL, attack=foreign_attacks.no_numbers)
    results = lp.evaluate(trained, (digits[0][:20], digits[1][:20]), attacks={"mine": attack}, progress=False).results
    assert results["attacks"]["mine"]["correct"] == results["clean"]["correct"]
    assert f"attacks: white_box/mine: NaN in {results['attacks']['mine']['total']} of its images" in caplog.text


def test_random_numbers_are_the_generators(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:5], digits[1][:5]
    attack = External(BALL, attack=foreign_attacks.noise)
    first, again, other = (attack(trained, x, y, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_global_random_numbers_go_on_as_if_nothing_had_been(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:5], digits[1][:5]
    drawn = []
    for attacked in (True, False):
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        if attacked:
            External(BALL, attack=foreign_attacks.noise)(trained, x, y, generator=torch.Generator())
        drawn.append((torch.rand(1).item(), np.random.rand(), random.gauss()))
    assert drawn[0] == drawn[1]


def test_an_evaluation_counts_what_the_network_misclassifies(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    data = (digits[0][:60], digits[1][:60])
    attacks = {"theirs": External(BALL, attack=foreign_attacks.signed_step), "ours": lp.attacks.fgsm(BALL)}
    record = lp.evaluate(trained, data, attacks=attacks).record
    assert 0 < record.attacks["theirs"].correct < record.clean.correct
    assert record.attacks["theirs"].correct == record.attacks["ours"].correct
    assert "foreign_attacks.signed_step" in str(record.attacks["theirs"].parameters)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None"),
        (torch.zeros(5, 1, 8, 8, dtype=torch.uint8), "of torch.uint8, .*; accepted: images of floating point"),
        (np.zeros((5, 1, 8, 8), dtype=object), "of object, .*; accepted: images of floating point"),
        (torch.zeros(5, 1, 8, 8).to_sparse(), "must be images, dense, not sparse_coo"),
        (torch.zeros(5, 64), r"of shape \[5, 64\]"),
        (torch.zeros(4, 1, 8, 8), r"floating point, of shape \[5, 1, 8, 8\]"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(trained: nn.Module, digits: tuple[Tensor, Tensor], returned: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^attack: .*{message}"):
        External(BALL, attack=lambda *arguments: returned)(trained, digits[0][:5], digits[1][:5])


def test_arrays_of_any_layout_are_read(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:5], digits[1][:5]
    for found in (x.numpy()[:, :, ::-1], x.flip(2).numpy().astype(">f8")):
        assert torch.equal(External(lp.Linf(1.0), attack=lambda *arguments, found=found: found)(trained, x, y), x.flip(2))


def test_the_network_is_left_as_it_was_and_its_weights_may_not_be_changed(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    trained, (x, y) = copy.deepcopy(trained), (digits[0][:5], digits[1][:5])
    trained.zero_grad()
    parameters = list(trained.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])

    def gradients(model: nn.Module, x: Tensor, y: Tensor, threat: lp.Linf) -> Tensor:
        for parameter in model.train().parameters():
            parameter.requires_grad_()
        model(x).sum().backward()
        return x

    def weights(model: nn.Module, x: Tensor, y: Tensor, threat: lp.Linf) -> Tensor:
        next(model.parameters()).data.add_(1)
        return x

    before = [parameter.clone() for parameter in parameters]
    External(BALL, attack=gradients)(trained, x, y)
    assert not any(module.training for module in trained.modules())
    with pytest.raises(InputError, match="^attack: changed the network's weights"):
        External(BALL, attack=weights)(trained, x, y)
    assert all(torch.equal(parameter, value) for parameter, value in zip(parameters, before, strict=True))
    assert torch.equal(parameters[0].grad, torch.ones_like(parameters[0]))
    assert all(parameter.grad is None for parameter in parameters[1:])
    parameters[0].grad = None


def test_what_is_no_function_is_refused(no_shape_checks: None) -> None:
    with pytest.raises(InputError, match="attack must be a function"):
        External(BALL, attack="pgd")
