"""The quicker forms of a CPU against PyTorch's own: equal where only elements are chosen, equal but for rounding where they are summed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import logitpair as lp
from logitpair.attacks import cpu_kernels
from logitpair.attacks.cpu_kernels import CPUKernels
from logitpair.attacks.engine import ENGINE


def gradients(function: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The value, the gradient of its square, and the gradient of that gradient's square."""
    x = x.detach().clone().requires_grad_()
    value = function(x)
    (first,) = torch.autograd.grad(value.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return value.detach(), first.detach(), second


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 2},
        {"kernel_size": 2, "stride": (2, 1), "ceil_mode": True},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (3, 2), "stride": 1, "dilation": 2},
    ],
)
def test_max_pooling_and_its_gradient_are_equal_ties_included(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x = F.relu(torch.randn(5, 8, 11, 9, generator=torch.Generator().manual_seed(0)))  # half of it zeros, so that many windows tie
    expected = gradients(partial(F.max_pool2d, **settings), x)
    spied = spy(monkeypatch, cpu_kernels.ChannelwiseMaximum)
    with CPUKernels():
        got = gradients(nn.MaxPool2d(**settings), x)
    assert spied == [1]
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()  # a network that reshapes by view() sees no difference


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 7, "stride": 2, "padding": 3, "bias": False},
        {"kernel_size": (3, 2), "stride": (1, 2), "padding": (0, 1), "dilation": 2},
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_image_gradient_of_a_convolution(settings: dict[str, Any], channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 6, **settings).requires_grad_(False)
    x = torch.randn(5, channels, 12, 13)
    expected = gradients(layer, x)
    monkeypatch.setattr(cpu_kernels, "COLUMNS", 2.5 * channels * layer.weight[0, 0].numel() * expected[0][0, 0].numel())  # 2, 2 and 1
    spied = spy(monkeypatch, cpu_kernels.ImageConvolution)
    with CPUKernels():
        got = gradients(layer, x)
    assert spied == [1]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
        assert one.stride() == other.stride()


def test_weights_that_are_trained_have_their_gradient() -> None:
    layer = nn.Conv2d(1, 2, 3)
    x = torch.rand(2, 1, 5, 5, requires_grad=True)
    with CPUKernels():
        layer(x).sum().backward()
    assert layer.weight.grad is not None


def test_left_alone_without_a_gradient_in_float64_and_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    spied = spy(monkeypatch, cpu_kernels.ImageConvolution)
    layer = nn.Conv2d(1, 2, 3).requires_grad_(False)
    x = torch.rand(2, 1, 5, 5)
    with CPUKernels():
        layer(x)
        layer.double()(x.double().requires_grad_())
        layer.float()
        monkeypatch.setenv(ENGINE, "eager")
        layer(x.requires_grad_())
    assert not spied


def ensemble(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """As networks of one form run together, their weights in a stack, over images that are no such stack."""
    return torch.func.vmap(lambda weight: F.max_pool2d(F.conv2d(x, weight), 2))(torch.stack([layer.weight, -layer.weight])).sum(0)


def along_a_direction(layer: nn.Conv2d, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        value, tangent = forward_ad.unpack_dual(F.max_pool2d(layer(forward_ad.make_dual(x, torch.ones_like(x))), 2))
        assert tangent is not None
        return value * tangent


def settings_of_one_number(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight, None, (2,), (1,), (1,))


def settings_of_numpy(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.max_pool2d(F.conv2d(x, layer.weight, None, np.int64(2)), np.int64(2))  # type: ignore[call-overload]


def no_images(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """As a branch has them that none of the images takes."""
    return x.square() + F.max_pool2d(layer(x[:0]), 2).sum()


def computed_again(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return checkpoint(lambda images: F.max_pool2d(layer(images), 2), x, use_reentrant=False)


class Scaled(Tensor):
    """Weights with a convolution of their own, as quantized ones have."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {})) * (2 if func is F.conv2d else 1)


def weights_of_a_subclass(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight.detach().as_subclass(Scaled))


@pytest.mark.parametrize(
    "network",
    [
        *(ensemble, along_a_direction, settings_of_one_number, settings_of_numpy, no_images, computed_again, weights_of_a_subclass),
    ],
)
def test_what_asks_more_of_an_operation_than_a_gradient_is_left_to_pytorch(network: Any) -> None:
    torch.manual_seed(0)
    function, x = partial(network, nn.Conv2d(3, 8, 3).requires_grad_(False)), torch.randn(2, 3, 9, 9)
    expected = gradients(function, x)
    with CPUKernels():
        got = gradients(function, x)
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)


def test_gradients_of_many_outputs_at_once() -> None:
    """As a network takes them that looks at its own Jacobian."""
    torch.manual_seed(0)
    layer, x = nn.Conv2d(1, 8, 3).requires_grad_(False), torch.randn(2, 1, 9, 9, requires_grad=True)

    def jacobian() -> Tensor:
        out = F.max_pool2d(layer(x), 2).sum((2, 3))
        rows = torch.eye(8)[:, None].expand(8, 2, 8)
        return torch.autograd.grad(out, x, rows, is_grads_batched=True)[0]

    expected = jacobian()
    with CPUKernels():
        torch.testing.assert_close(jacobian(), expected)


def test_attacks_use_them_and_find_what_they_find_without(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x, y = lp.models.LeNet(filters=8), torch.rand(3, 1, 28, 28), torch.tensor([1, 2, 3])
    attack = lp.attacks.PGD(lp.L2(1.0), step_size=0.1, steps=5, random_start=False, early_stop=False)
    spied = spy(monkeypatch, cpu_kernels.ImageConvolution)
    with_kernels = attack(model, x, y)
    assert len(spied) == 5
    monkeypatch.setenv(ENGINE, "eager")
    torch.testing.assert_close(attack(model, x, y), with_kernels, rtol=0, atol=1e-5)
    assert len(spied) == 5


def spy(monkeypatch: pytest.MonkeyPatch, form: Any) -> list[int]:
    """A list that grows by one whenever this form is taken."""
    calls: list[int] = []
    apply = form.apply

    def counted(*args: Any) -> Any:
        calls.append(1)
        return apply(*args)

    monkeypatch.setattr(form, "apply", counted)
    return calls
