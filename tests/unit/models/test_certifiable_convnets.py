"""Networks for certified training: their shapes, their sizes, and the weights that they begin with."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import logitpair as lp
from logitpair import InputError
from logitpair.bounds.interval import intervals
from logitpair.bounds.operations import Interval
from logitpair.bounds.read_graph import read_graph
from logitpair.models.certifiable_convnets import ibp_init


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_strided_conv_net() -> None:
    model = lp.models.StridedConvNet()
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    # convolutions, BatchNorms, 64 maps of 4x4 into 512, logits
    assert parameters(model) == 25 * 32 + 25 * 32 * 64 + 2 * (32 + 64 + 512) + 64 * 16 * 512 + 512 * 10 + 10
    small = lp.models.StridedConvNet(classes=3, channels=2, size=8, filters=(4,), hidden=5)
    assert small(torch.rand(2, 2, 8, 8)).shape == (2, 3)
    assert [type(layer).__name__ for layer in small] == [
        *("Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear", "BatchNorm1d", "ReLU", "Linear")
    ]


def test_soft_threshold() -> None:
    """Exact by interval bounds, and so is the first convolution behind it."""
    layer = lp.models.SoftThreshold(0.4)
    x = torch.tensor([0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 1.0]).view(1, 1, 3, 3)
    expected = torch.tensor([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]).view(1, 1, 3, 3)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(lp.models.SoftThreshold(1)(x), x)
    found = intervals(read_graph(nn.Sequential(layer, nn.Flatten()), x), Interval(x - 0.1, x + 0.1))[-1]
    for end, bound in ((x - 0.1, found.lower), (x + 0.1, found.upper)):
        torch.testing.assert_close(bound, layer(end).flatten(1), rtol=0, atol=1e-6)
    assert repr(layer) == "SoftThreshold(width=0.4)"
    graph = read_graph(nn.Sequential(layer, nn.Conv2d(1, 2, 3), nn.Flatten()), x)
    assert len(graph.exact) == len(graph.steps), "all but the reshape"


def test_a_threshold_before_a_network() -> None:
    model, plain = lp.models.StridedConvNet(threshold=0.4).eval(), lp.models.StridedConvNet().eval()
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(model(x), plain(lp.models.SoftThreshold(0.4)(x)))
    torch.testing.assert_close(model(0.3 * (x > 0.5)), model(torch.zeros_like(x)))


def test_cnn7() -> None:
    model = lp.models.CNN7(width=2, size=9, channels=3, classes=4)
    assert model(torch.rand(2, 3, 9, 9)).shape == (2, 4)
    full = lp.models.CNN7()
    weights = [layer.weight for layer in full if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [tuple(weight.shape[:2]) for weight in weights] == [
        *((64, 1), (64, 64), (128, 64), (128, 128), (128, 128), (512, 128 * 14 * 14), (10, 512))
    ]
    assert parameters(full) == 9 * (64 + 64 * 64 + 64 * 128 + 2 * 128 * 128) + 2 * (2 * 64 + 3 * 128 + 512) + 512 * 25088 + 5130


def test_cnn6() -> None:
    model = lp.models.CNN6(width=2, size=9, channels=3, classes=4)  # 9 pixels, then 5, then 3
    assert model(torch.rand(2, 3, 9, 9)).shape == (2, 4)
    full = lp.models.CNN6()
    weights = [layer.weight for layer in full if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [tuple(weight.shape) for weight in weights] == [
        *((32, 1, 5, 5), (64, 32, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3), (256, 64 * 7 * 7), (10, 256))
    ]
    assert parameters(full) == sum(weight.numel() for weight in weights) + 2 * (32 + 3 * 64 + 256) + 10


@pytest.mark.parametrize("build", [lp.models.StridedConvNet, lp.models.CNN6, lambda: lp.models.CNN7(width=16)])
def test_the_deviation_of_the_first_weights(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    for layer in build():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            expected = math.sqrt(2 * math.pi) / layer.weight[0].numel()
            assert layer.weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * layer.weight.numel()))
            assert layer.weight.mean().abs() < 5 * expected / math.sqrt(layer.weight.numel())
            assert layer.bias is None or not layer.bias.any()


def test_intervals_keep_their_width_from_layer_to_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), *[layer for _ in range(4) for layer in (nn.Linear(400, 400), nn.ReLU())], nn.Linear(400, 3)).eval()
    ibp_init(model)
    x = torch.rand(1, 1, 20, 20)
    found = intervals(read_graph(model, x), Interval(x - 0.1, x + 0.1))
    widths = [found[number].width.mean().item() for number in (2, 4, 6, 8)]
    assert widths[0] == pytest.approx(2 * 0.2, rel=0.1)  # sqrt(2 pi) E|w| = 2 a layer, of which a ReLU lets half through
    assert all(narrow / wide == pytest.approx(1, abs=0.15) for narrow, wide in zip(widths[1:], widths, strict=False))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: lp.models.StridedConvNet(size=8), "filters: 2 convolutions of 5x5 and stride 2 are too many"),
        (lambda: lp.models.StridedConvNet(classes=1), "classes"),
        (lambda: lp.models.StridedConvNet(filters=(0,)), "filters"),
        (lambda: lp.models.StridedConvNet(hidden=0), "hidden must be a whole number of at least 1"),
        (lambda: lp.models.StridedConvNet(threshold=0), "threshold must be above 0"),
        (lambda: lp.models.StridedConvNet(threshold=math.nan), "threshold must be"),
        (lambda: lp.models.SoftThreshold(0), "width must be above 0"),
        (lambda: lp.models.CNN6(width=0), "width"),
        (lambda: lp.models.CNN7(width=0), "width"),
        (lambda: lp.models.CNN7(classes=1), "classes"),
    ],
)
def test_sizes_that_make_no_network_are_refused(build: type[nn.Module], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build()
