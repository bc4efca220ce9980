"""Inception v3 and the residual networks for ImageNet, beside those of torchvision and timm that they are made of."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import logitpair as lp
from logitpair.errors import InputError
from logitpair.models.inception import InceptionV3
from logitpair.models.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet101, ResNetV2_50
from logitpair.runtime.lazy_imports import import_timm, import_torchvision


def normalised(x: Tensor) -> Tensor:
    return (x - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]


@pytest.fixture(scope="module")
def inception() -> InceptionV3:
    torch.manual_seed(0)
    return InceptionV3()


@pytest.fixture(scope="module")
def resnet101() -> ResNet101:
    return ResNet101().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that are built with whatever stands in memory: random numbers for millions of weights take seconds."""
    for name in ("kaiming_normal_", "kaiming_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda *_, **__: None)


def test_inception_is_torchvisions_on_its_own_normalisation(inception: InceptionV3, x: Tensor) -> None:
    published: Any = import_torchvision().models.inception_v3(weights=None, init_weights=False, transform_input=True)
    published.load_state_dict(inception.network.state_dict())  # as published weights are used: on ImageNet's mean and deviation
    with torch.no_grad():
        small = x[:, :, :100, :120]
        torch.testing.assert_close(inception.eval()(small), published.eval()(normalised(small)), rtol=1e-4, atol=1e-5)
    assert inception.auxiliary_logits is None


def test_the_auxiliary_head_is_in_training_a_part_of_the_graph(inception: InceptionV3, x: Tensor) -> None:
    model, y = inception.train(), torch.tensor([1, 4])
    logits = model(x)
    auxiliary = model.auxiliary_logits
    assert isinstance(auxiliary, Tensor)
    assert logits.shape == auxiliary.shape == (2, 1000)
    (model.auxiliary_weight * cross_entropy(auxiliary, y)).backward()
    assert model.auxiliary_weight == 0.4
    assert model.network.AuxLogits.fc.weight.grad.abs().sum() > 0
    assert model.network.Conv2d_1a_3x3.conv.weight.grad.abs().sum() > 0
    assert model.network.fc.weight.grad is None
    model.zero_grad()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 (our own)
        assert again.auxiliary_logits is None
        assert again.state_dict().keys() == model.state_dict().keys()
    assert not [name for name in model.state_dict() if "auxiliary" in name]
    assert model.auxiliary_logits is auxiliary
    lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1)(model, x[:1, :, :80, :80], y[:1], generator=torch.Generator().manual_seed(0))
    assert model.auxiliary_logits is None  # the attack's forward is in eval mode
    assert model.training


def test_smaller_images_need_a_network_without_the_head(inception: InceptionV3, x: Tensor) -> None:
    with pytest.raises(InputError, match=r"^model: images in training must be at least 299x299 pixels, not 298x299; for smaller ones"):
        inception.train()(x[:, :, :298])
    small = InceptionV3(classes=3, size=75)
    assert small.train()(x[:, :, :75, :75]).shape == (2, 3)
    assert small.auxiliary_logits is None
    assert not [name for name, _ in small.named_parameters() if "Aux" in name]
    with pytest.raises(InputError, match=r"^model: images of Inception v3 must be at least 75x75 pixels, not 74x75$"):
        small.eval()(x[:, :, :74, :75])
    with pytest.raises(InputError, match=r"^size must be a whole number of at least 75, not 64$"):
        InceptionV3(size=64)


def test_resnet101_is_torchvisions_on_normalised_images(resnet101: ResNet101, x: Tensor) -> None:
    small = x[:, :, :64, :64]
    with torch.no_grad():
        torch.testing.assert_close(resnet101(small), resnet101.network.model(normalised(small)))
    assert isinstance(resnet101.network.model, import_torchvision().models.ResNet)
    assert sum(parameter.numel() for parameter in resnet101.parameters()) == 44_549_160  # as torchvision's page says


def test_resnet_v2_50_is_timms_and_its_small_stem_keeps_the_resolution(x: Tensor) -> None:
    small = x[:, :, :64, :64]
    sizes = []
    for small_stem, parameters in ((False, 25_549_352), (True, 25_549_352 - (49 - 9) * 3 * 64)):
        network = ResNetV2_50(small_stem=small_stem).eval()
        assert sum(parameter.numel() for parameter in network.parameters()) == parameters
        network.network.model.stages.register_forward_hook(lambda *call: sizes.append(call[2].shape[-1]))
        with torch.no_grad():
            torch.testing.assert_close(network(small), network.network.model(2 * small - 1))
        assert isinstance(network.network.model, import_timm().models.ResNetV2)
    assert sizes == [2, 2, 8, 8]  # each network ran twice


@pytest.mark.parametrize("name", ["inception", "resnet101"])
def test_published_weights_begin_a_network_of_other_classes(
    name: str, monkeypatch: pytest.MonkeyPatch, inception: InceptionV3, resnet101: ResNet101, unfilled: None
) -> None:
    """A stand-in for the download: random weights in the shape of the published ones."""
    published: Any = {"inception": inception, "resnet101": resnet101}[name]
    weights = (published.network if name == "inception" else published.network.model).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: weights)
    fewer, whole = type(published)(5, pretrained=True).state_dict(), published.state_dict()
    fresh = {key for key, value in fewer.items() if not torch.equal(value, whole[key])}
    assert {key.split(".")[-2] for key in fresh} == {"fc"}
    assert [len(fewer[key]) for key in fresh] == [5] * (4 if name == "inception" else 2)


@pytest.mark.parametrize("build", [InceptionV3, ResNet101, lambda pretrained: lp.models.Timm("test_resnet", 10, pretrained)])
def test_a_hub_out_of_reach_is_refused_in_one_line(
    build: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unfilled: None
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to the hub\nand much more")

    import_torchvision()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    with pytest.raises(InputError, match=r"^pretrained: cannot fetch the published weights of \w+ \(.*no route to the hub") as caught:
        build(pretrained=True)
    assert "\n" not in str(caught.value)
