"""The small convolutional networks."""

from collections.abc import Callable

import pytest
from torch import nn

from logitpair import InputError
from logitpair.models import LeNet, SmallConvNet


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: LeNet(classes=1), "classes must be a whole number of at least 2"),
        (lambda: LeNet(filters=0), "filters must be a whole number of at least 1"),
        (lambda: SmallConvNet(classes=1), "classes must be a whole number of at least 2"),
        (lambda: SmallConvNet(width=0), "width must be a whole number of at least 1"),
    ],
)
def test_sizes_that_make_no_network_are_refused(build: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build()
