"""Inception v3 beside torchvision's, which it is made of."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import logitpair as lp
from logitpair.errors import InputError
from logitpair.models.inception import InceptionV3
from logitpair.models.resnet import IMAGENET_MEAN, IMAGENET_STD
from logitpair.runtime.lazy_imports import import_torchvision


def normalised(x: Tensor) -> Tensor:
    return (x - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]


@pytest.fixture(scope="module")
def inception() -> InceptionV3:
    torch.manual_seed(0)
    return InceptionV3()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(1))


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
