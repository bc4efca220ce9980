"""Slopes by gradient ascent: bounds that are never below the default ones, sound, and the same in any batch."""

from __future__ import annotations

import itertools

import pytest
import torch
from bounded_networks import CLASSES, KINDS, images, network, relaxations, subproblems, worst_found
from torch import Tensor, nn

import logitpair as lp
from logitpair.bounds.optimized_slopes import improved
from logitpair.threat import L2, Threat

NEVER = torch.tensor([[torch.inf]], dtype=torch.float64)


def both(model: nn.Module, x: Tensor, threat: Threat, *, iterations: int = 10, enough: Tensor = NEVER) -> tuple[Tensor, Tensor]:
    """The default bounds and the optimised ones, of each logit and its negative."""
    exact, quick = relaxations(model, x, threat)
    identity = torch.eye(CLASSES, dtype=x.dtype)
    whole = subproblems(exact, torch.cat([identity, -identity]))
    found = improved(exact, quick, whole, enough.expand(len(x), 1)[whole.image, 0], iterations)
    return whole.bound.view(len(x), -1), found.bound.view(len(x), -1)


@pytest.mark.parametrize("threat", [lp.Linf(0.1), L2(0.8)])
@pytest.mark.parametrize("kind", KINDS)
def test_they_are_better_and_sound(kind: str, threat: Threat) -> None:
    model, x = network(kind), images(3)
    default, found = both(model, x, threat)
    assert (found >= default).all()
    assert kind not in ("deep", "residual") or (found > default + 1e-6).any(), "nothing was gained"
    identity = torch.eye(CLASSES, dtype=x.dtype)
    least = worst_found(model, torch.cat([identity, -identity]).expand(3, -1, -1), threat, x)
    assert (found <= least + 1e-9).all()


def test_more_iterations_never_make_a_bound_worse() -> None:
    model, x = network("fully_connected", 1), images(4)
    found = [both(model, x, lp.Linf(0.1), iterations=number)[1] for number in (1, 2, 5, 20)]
    for fewer, more in itertools.pairwise(found):
        assert (more >= fewer - 1e-6).all()  # the best is chosen in float32
    assert (found[-1] > found[1]).any()


def test_bounds_of_one_image_do_not_depend_on_the_others() -> None:
    """Neither without an end, nor where some images have enough at once, some after a while and some never."""
    model, x, threat = network("deep"), images(6), lp.Linf(0.05)
    default, most = (found.amin(1) for found in both(model, x, threat))
    for enough in (torch.inf, float(((default + most) / 2).median().detach()), -torch.inf):
        threshold = torch.full((6, 1), enough, dtype=torch.float64)
        together = both(model, x, threat, enough=threshold)[1]
        alone = torch.cat([both(model, x[i : i + 1], threat, enough=threshold[:1])[1] for i in range(6)])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)  # slopes are sought in float32


def test_what_is_enough_ends_it() -> None:
    default, found = both(network("convolutions"), images(2), lp.Linf(0.1), enough=torch.tensor([[-1e9]], dtype=torch.float64))
    assert torch.equal(default, found)


def test_a_network_without_choices_has_its_default_bounds() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, CLASSES)).double()
    default, found = both(model, images(2), lp.Linf(0.1))
    assert torch.equal(default, found)


def test_gradients_are_not_asked_of_the_weights() -> None:
    model = network("convolutions")
    with torch.no_grad():
        _, found = both(model, images(2), lp.Linf(0.1))
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
