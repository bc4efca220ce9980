"""Gradients of a smoothed network: the same values forward, a known factor backward, and straight through rounding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from devices import devices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import logitpair as lp
from logitpair.attacks import DiversifiedPGD, SmoothBackward
from logitpair.attacks.base import gradient_of
from logitpair.rng import ExampleStreams

CALLS = (F.relu, torch.relu, Tensor.relu, nn.ReLU(), lambda z: F.relu(z, inplace=True), F.relu_, torch.relu_, Tensor.relu_)


def gradient(z: Tensor, call: object, smoothing: float) -> tuple[Tensor, Tensor]:
    z = z.clone().requires_grad_()
    with SmoothBackward(smoothing):
        value = call(z * 1.0)
    return value.detach(), torch.autograd.grad(value.sum(), z)[0]


@pytest.mark.parametrize("call", CALLS)
def test_a_relu_keeps_its_value_and_lets_a_sigmoid_of_the_gradient_through(call: object) -> None:
    z = torch.tensor([[-2.0, -0.1, 0.0, 0.3], [-20.0, 1.0, 2.0, 3.0]], dtype=torch.float64)
    value, found = gradient(z, call, 0.5)
    torch.testing.assert_close(value, z.clamp_min(0))
    width = 0.5 * torch.tensor([[0.6], [6.5]], dtype=torch.float64)  # half of the mean of |z| over each example
    torch.testing.assert_close(found, torch.sigmoid(z / width))


def test_without_smoothing_the_gradient_is_the_networks_own() -> None:
    z = torch.linspace(-1, 1, 9)[None]
    assert torch.equal(gradient(z, F.relu, 0.0)[1], (z > 0).float())


def test_smoothing_of_an_example_does_not_depend_on_the_others() -> None:
    z = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    _, together = gradient(z, F.relu, 0.4)
    torch.testing.assert_close(together[2:3], gradient(z[2:3], F.relu, 0.4)[1])


@pytest.mark.parametrize("call", [torch.round, torch.floor, torch.ceil, torch.trunc, Tensor.round])
@pytest.mark.parametrize("smoothing", [0.0, 0.4])
def test_rounding_keeps_its_value_and_lets_the_gradient_through(call: object, smoothing: float) -> None:
    z = torch.tensor([[0.2, 1.7, -0.6]])
    value, found = gradient(z, call, smoothing)
    torch.testing.assert_close(value, call(z))
    assert torch.equal(found, torch.ones_like(z))


def test_outside_nothing_is_changed() -> None:
    z = torch.tensor([[-1.0, 1.0]], requires_grad=True)
    with SmoothBackward(1.0):
        pass
    assert torch.autograd.grad(F.relu(z).sum(), z)[0].tolist() == [[0.0, 1.0]]


def test_the_search_finds_the_optimum_of_a_linear_model(linear: nn.Module, middle: tuple[Tensor, Tensor]) -> None:
    x, y = middle
    reached = torch.full((len(x),), -torch.inf, dtype=x.dtype)
    for rank in (1, 2):
        attack = DiversifiedPGD(lp.Linf(0.05), steps=10, smoothing=0.4, target_rank=rank).without_early_stop()
        x_adv = attack(linear, x, y, generator=torch.Generator().manual_seed(0))
        reached = torch.maximum(reached, lp.losses.misclassification_margin(linear(x_adv), y).detach())
    weight = linear.weight.detach()
    others = torch.stack(
        [(weight[k] - weight[y]).abs().sum(1) * 0.05 + (linear(x)[:, k] - linear(x).gather(1, y[:, None])[:, 0]) for k in range(3)], 1
    )
    best = others.scatter(1, y[:, None], -torch.inf).amax(1)
    torch.testing.assert_close(reached, best.detach())


def test_smoothing_breaks_a_network_whose_units_are_off_around_the_image() -> None:
    class Dead(nn.Module):
        """Its units are off within the reach of one step, and then speak for the other class."""

        def forward(self, x: Tensor) -> Tensor:
            up = F.relu(x.flatten(1).mean(1) - 0.6).mul(20)
            return torch.stack([torch.full_like(up, 0.5), up], 1)

    x, y = torch.full((4, 1, 4, 4), 0.5), torch.zeros(4, dtype=torch.int64)
    options = {"steps": 8, "diversify": 0, "candidates": 1}
    for smoothing, broken in ((0.0, False), (0.4, True)):
        attack = DiversifiedPGD(lp.Linf(0.2), smoothing=smoothing, **options)
        found = attack(Dead(), x, y, generator=ExampleStreams(5, torch.arange(4)))
        assert bool((Dead()(found).argmax(1) == 1).all()) == broken


class Checkpointed(nn.Sequential):
    """Its activations are recomputed in the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(super().forward, x, use_reentrant=False)


def recomputing(kind: str) -> tuple[nn.Module, nn.Module]:
    """A network that recomputes its activations, and the same that stores them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "checkpoint":
            layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)]
            return Checkpointed(*layers).eval(), nn.Sequential(*layers).eval()
        network = lp.models.RevNet((2, 2), (4, 4, 8), classes=3).eval()
    stored = lp.models.RevNet((2, 2), (4, 4, 8), classes=3, reversible=False).eval()
    stored.load_state_dict(network.state_dict())
    return network, stored


@devices  # a GPU's backward pass runs in another thread
@pytest.mark.parametrize("kind", ["checkpoint", "reversible"])
def test_activations_that_are_recomputed_are_smoothed_too(kind: str, device: str) -> None:
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(device)
    found, plain = [], []
    for network in recomputing(kind):
        network.to(device)
        for smoothing, gradients in ((0.4, found), (0.0, plain)):
            inputs = x.clone().requires_grad_()
            with SmoothBackward(smoothing):
                gradients.append(gradient_of(network(inputs).square().sum(), inputs))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-5 * found[1].abs().max().item())
    assert (found[1] - plain[1]).norm() > 0.1 * plain[1].norm(), "the test needs a smoothing that matters"


@pytest.mark.parametrize("kind", ["checkpoint", "reversible"])
def test_the_search_finds_the_same_in_a_network_that_recomputes(kind: str) -> None:
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    networks = [network.double() for network in recomputing(kind)]
    y = networks[1](x.double()).argmax(1)
    attack = DiversifiedPGD(lp.Linf(0.02), steps=3, smoothing=0.4, early_stop=False)
    found = [attack(network, x.double(), y, generator=ExampleStreams(5, torch.arange(4))) for network in networks]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-9)
