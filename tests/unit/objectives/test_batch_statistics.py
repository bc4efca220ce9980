"""BatchNorm's own statistics and their gradients, against those of the values written out."""

import copy
from collections.abc import Callable

import pytest
import torch
from tests.helpers.devices import devices
from torch import Tensor, nn

from logitpair.objectives.batch_statistics import batch_statistics

NORMS: dict[str, Callable[[], nn.Module]] = {
    "as it is": lambda: nn.BatchNorm2d(3),
    "no weights": lambda: nn.BatchNorm2d(3, affine=False),
    "no running statistics": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    "a cumulative average": lambda: nn.BatchNorm2d(3, momentum=None),
    "a large eps": lambda: nn.BatchNorm2d(3, eps=0.5),
    "vectors": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3 * 20)),
}


def written_out(norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    output, inputs = norm(x), x if isinstance(norm, nn.BatchNorm2d) else x.flatten(1)
    variance, mean = torch.var_mean(inputs, [0, *range(2, inputs.ndim)], correction=0)
    return output, mean, variance


def kept(norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with batch_statistics(norm) as found:
        output = norm(x)
    ((mean, variance),) = found.values()
    return output, mean, variance


@devices
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NORMS)
def test_values_gradients_and_running_statistics_are_those_written_out(name: str, layout: torch.memory_format, device: str) -> None:
    torch.manual_seed(0)
    norm = NORMS[name]().double().to(device)
    for weight in norm.parameters():
        nn.init.normal_(weight)
    other = copy.deepcopy(norm)
    x = (3 * torch.randn(6, 3, 4, 5, dtype=torch.float64, device=device) + 2).contiguous(memory_format=layout).requires_grad_()
    results = []
    for form, module in ((written_out, norm), (kept, other)):
        found = form(module, x)
        total = sum((torch.sin(value + number).sum() for number, value in enumerate(found)), x.new_zeros(()))
        results.append((*found, *torch.autograd.grad(total, [x, *module.parameters()])))
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(dict(other.named_buffers()), dict(norm.named_buffers()))


def test_float32_far_from_zero() -> None:
    torch.manual_seed(0)
    x = (torch.randn(64, 3, 8, 8) + 100).requires_grad_()
    exact = x.detach().double().requires_grad_()
    for form, values in ((kept, x), (written_out, exact)):
        output, mean, variance = form(nn.BatchNorm2d(3).to(values.dtype), values)
        (output.pow(3).sum() + mean.sum() + 10 * variance.sum()).backward()
    assert x.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-3, atol=1e-4)


def test_networks_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.BatchNorm1d(8))
    x = torch.randn(5, 3, 4, 4)
    model[1].eval()
    with batch_statistics(model) as found:
        inside = model(x)
    assert set(found) == {model[3]}, "the one in eval mode normalises by what it has"
    torch.testing.assert_close(inside, model(x))
    assert set(found) == {model[3]}
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_one_value_a_channel_is_refused_as_by_pytorch() -> None:
    norm, x = nn.BatchNorm1d(3), torch.randn(1, 3)
    with pytest.raises(ValueError, match="more than 1 value per channel") as by_pytorch:
        norm(x)
    with pytest.raises(ValueError, match="more than 1 value per channel") as ours, batch_statistics(norm):
        norm(x)
    assert str(ours.value) == str(by_pytorch.value)
    assert not norm._forward_pre_hooks


def test_a_functional_normalisation_is_nobodys() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.batch_norm(self.norm(x) + 5, None, None, training=True)

    network, x = Network(), torch.randn(8, 3)
    with batch_statistics(network) as found:
        inside = network(x)
    torch.testing.assert_close(inside, network(x))
    torch.testing.assert_close(found[network.norm], (x.mean(0), x.var(0, correction=0)))


class Doubling(nn.BatchNorm1d):
    """Normalises by a call of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.batch_norm(2 * input, self.running_mean, self.running_var, training=True)


class Frozen(nn.BatchNorm1d):
    """Normalises by its running statistics, in train mode too."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, training=False)


@pytest.mark.parametrize("norm", [Doubling(3), Frozen(3), nn.BatchNorm1d(3).bfloat16(), nn.BatchNorm1d(3)])
def test_what_is_left_to_pytorch_is_as_it_was(norm: nn.Module) -> None:
    x = torch.randn(8, 3, dtype=torch.bfloat16 if next(norm.parameters()).dtype == torch.bfloat16 else torch.float32) + 100
    other = copy.deepcopy(norm)
    with batch_statistics(norm) as found:
        inside = norm(x)
    torch.testing.assert_close(inside, other(x))
    torch.testing.assert_close(dict(norm.named_buffers()), dict(other.named_buffers()))
    torch.testing.assert_close(found[norm], (x.mean(0), x.var(0, correction=0)))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_channels_that_do_not_fit_are_refused_by_pytorch(channels: int) -> None:
    norm = nn.BatchNorm2d(3)
    with pytest.raises(RuntimeError, match=f"contain {channels} elements not 3"), batch_statistics(norm):
        norm(torch.randn(4, channels, 5, 5))
    assert not norm._forward_hooks


def test_second_derivatives_are_refused() -> None:
    norm, x = nn.BatchNorm1d(3), torch.randn(8, 3, requires_grad=True)
    with batch_statistics(norm):
        output = norm(x)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(output.pow(3).sum(), x, create_graph=True)
