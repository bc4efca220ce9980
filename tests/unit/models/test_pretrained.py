"""Published weights: how a network begins from them, and that a hub out of reach is a user's error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

import logitpair as lp
from logitpair.errors import InputError
from logitpair.models.inception import InceptionV3
from logitpair.models.resnet import ResNet101
from logitpair.runtime.lazy_imports import import_torchvision


@pytest.fixture(scope="module", params=[InceptionV3, ResNet101])
def published(request: pytest.FixtureRequest) -> Any:
    """A network whose random weights take the place of the published ones."""
    return request.param()


@pytest.fixture
def unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that are built with whatever is in memory: random numbers for millions of weights take seconds."""
    for name in ("kaiming_normal_", "kaiming_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda *_, **__: None)


def test_published_weights_begin_a_network_of_other_classes(published: Any, monkeypatch: pytest.MonkeyPatch, unfilled: None) -> None:
    inner = published.network if isinstance(published, InceptionV3) else published.network.model
    weights = inner.state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: weights)
    fewer, whole = type(published)(5, pretrained=True).state_dict(), published.state_dict()
    fresh = {key for key, value in fewer.items() if not torch.equal(value, whole[key])}
    assert {key.split(".")[-2] for key in fresh} == {"fc"}
    assert [len(fewer[key]) for key in fresh] == [5] * (4 if isinstance(published, InceptionV3) else 2)


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
