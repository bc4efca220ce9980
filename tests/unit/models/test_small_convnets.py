"""The small convolutional networks, and sizes that make none of any kind."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from logitpair import InputError
from logitpair.models import CNN6, CNN7, LeNet, PreActResNet, RevNet9, SmallConvNet, StridedConvNet, Timm


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: LeNet(classes=1), "classes must be a whole number of at least 2"),
        (lambda: LeNet(filters=0), "filters must be a whole number of at least 1"),
        (lambda: SmallConvNet(classes=1), "classes must be a whole number of at least 2"),
        (lambda: SmallConvNet(width=0), "width must be a whole number of at least 1"),
        *((partial(kind, size=0), "size must be a whole number of at least 1") for kind in (CNN6, CNN7, SmallConvNet, StridedConvNet)),
        *((partial(kind, classes=1), "classes must be a whole number of at least 2") for kind in (RevNet9, partial(Timm, "resnet18"))),
        *(
            (partial(kind, channels=0), "channels must be a whole number of at least 1")
            for kind in (CNN6, CNN7, LeNet, RevNet9, SmallConvNet, StridedConvNet, partial(PreActResNet, (1,), (4, 4)))
        ),
    ],
)
def test_sizes_that_make_no_network_are_refused(build: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build()


@pytest.mark.parametrize("size", [1, 7, 8])
def test_the_small_network_takes_images_of_any_size(size: int) -> None:
    assert SmallConvNet(size=size)(torch.rand(2, 1, size, size)).shape == (2, 10)
