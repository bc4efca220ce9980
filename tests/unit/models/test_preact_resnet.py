"""The pre-activation residual networks beside what is published of their sizes, and beside timm's of the same design."""

from __future__ import annotations

import pytest
import torch

from logitpair import InputError
from logitpair.models.preact_resnet import CIFAR10_MEAN, CIFAR10_STD, PreActBlock, PreActResNet, PreActResNet18, WideResNet


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_networks_have_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        networks = [PreActResNet18(), WideResNet(28, 10), WideResNet(34, 10), WideResNet(40, 4), WideResNet(28, 10, classes=100)]
    assert [round(parameters(network) / 1e6, 2) for network in networks] == [11.17, 36.48, 46.16, 8.95, 36.54]


def test_the_name_says_how_many_layers_there_are() -> None:
    with torch.device("meta"):
        sizes = [
            [module.kernel_size[0] for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
            for network in (PreActResNet18(), WideResNet(28, 2), WideResNet(34, 2))
        ]
    assert sizes[0].count(3) + 1 == 18, "the linear layer counts, the shortcuts do not"
    assert [len(of_wide) for of_wide in sizes[1:]] == [28, 34], "the shortcuts count, the linear layer does not"


def test_resolution_halves_from_the_second_stage_on() -> None:
    for network, expected in (
        (PreActResNet18(classes=7), [(64, 32), (128, 16), (256, 8), (512, 4)]),
        (WideResNet(10, 2), [(32, 32), (64, 16), (128, 8)]),
    ):
        sizes: list[tuple[int, int]] = []
        for stage in network.model.stages:
            stage.register_forward_hook(lambda *call, sizes=sizes: sizes.append(tuple(call[2].shape[1:3])))
        logits = network.eval()(torch.rand(2, 3, 32, 32))
        assert sizes == expected
        assert logits.shape == (2, 7 if network.__class__ is PreActResNet18 else 10)


def test_a_block_by_hand() -> None:
    block = PreActBlock(1, 1, 1).eval()
    torch.nn.init.dirac_(block.conv1.weight)
    torch.nn.init.dirac_(block.conv2.weight)
    x = torch.tensor([[[[-2.0, 3.0], [0.5, -1.0]]]])
    torch.testing.assert_close(block(x), x + x.relu() / (1 + 1e-5), rtol=1e-6, atol=1e-6)
    widened = PreActBlock(1, 2, 2).eval()
    with torch.no_grad():
        widened.conv2.weight.zero_()
        widened.shortcut.weight.fill_(1.0)
    expected = torch.zeros(1, 2, 1, 1)  # the shortcut takes the activated image, at every second pixel
    torch.testing.assert_close(widened(x), expected)


def test_pixels_are_normalised_inside() -> None:
    network, x = WideResNet(10, 1).eval(), torch.rand(2, 3, 32, 32)
    normalised = (x - torch.tensor(CIFAR10_MEAN)[:, None, None]) / torch.tensor(CIFAR10_STD)[:, None, None]
    torch.testing.assert_close(network(x), network.model(normalised))


def test_sizes_of_no_network_are_refused(no_shape_checks: None) -> None:
    for make, message in (
        (lambda: WideResNet(27), "depth must be 6n"),
        (lambda: WideResNet(4), "depth must be a whole number of at least 10"),
        (lambda: WideResNet(width=0), "width"),
        (lambda: PreActResNet((1, 1), (16, 16)), "widths must be one number more"),
        (lambda: PreActResNet((), (16,)), "widths must be"),
        (lambda: PreActResNet((0,), (16, 16)), "blocks"),
        (lambda: PreActResNet18(classes=1), "classes"),
    ):
        with pytest.raises(InputError, match=message):
            make()
