"""The residual networks for ImageNet beside those of torchvision and timm that they are made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from logitpair import InputError
from logitpair.models.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet101, ResNetV2_50, SmallResNetV2
from logitpair.runtime.lazy_imports import import_timm, import_torchvision


def normalised(x: Tensor) -> Tensor:
    return (x - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_resnet101_is_torchvisions_on_normalised_images(x: Tensor) -> None:
    resnet101 = ResNet101().eval()
    with torch.no_grad():
        torch.testing.assert_close(resnet101(x), resnet101.network.model(normalised(x)))
    assert isinstance(resnet101.network.model, import_torchvision().models.ResNet)
    assert sum(parameter.numel() for parameter in resnet101.parameters()) == 44_549_160  # as torchvision's page says


def test_resnet_v2_50_is_timms_and_its_small_stem_keeps_the_resolution(x: Tensor) -> None:
    sizes = []
    for small_stem, parameters in ((False, 25_549_352), (True, 25_549_352 - (49 - 9) * 3 * 64)):
        network = ResNetV2_50(small_stem=small_stem).eval()
        assert sum(parameter.numel() for parameter in network.parameters()) == parameters
        network.network.model.stages.register_forward_hook(lambda *call: sizes.append(call[2].shape[-1]))
        with torch.no_grad():
            torch.testing.assert_close(network(x), network.network.model(2 * x - 1))
        assert isinstance(network.network.model, import_timm().models.ResNetV2)
    assert sizes == [2, 2, 8, 8]  # each network ran twice


def test_the_small_resnet_halves_the_resolution_and_doubles_the_width_from_stage_to_stage() -> None:
    network = SmallResNetV2(classes=20, blocks=(2, 1, 1), width=16).eval()
    sizes = []
    for stage in network.network.model.stages:
        stage.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape[1:])))
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 20)
    assert sizes == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]
    assert [len(stage.blocks) for stage in network.network.model.stages] == [2, 1, 1]


def test_a_small_resnet_of_no_size_is_refused(no_shape_checks: None) -> None:
    for sizes in ({"blocks": []}, {"blocks": [1, 0]}, {"width": 4}, {"width": 20}, {"classes": 1}):
        with pytest.raises(InputError, match=next(iter(sizes))):
            SmallResNetV2(**sizes)
