"""Any network of timm, taking pixels in [0, 1], and published weights that have to be fetched."""

import difflib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError, first_line
from logitpair.models.normalized import Normalized
from logitpair.runtime.lazy_imports import import_timm
from logitpair.storage.weights import not_fetched
from logitpair.validate import whole

IMAGENET_CLASSES = 1000


class Timm(nn.Module):
    """A network by its timm name, its normalisation inside.

    Args:
        name: a name of ``timm.list_models()``, such as ``resnet18`` or ``inception_v3``.
        classes: number of logits.
        pretrained: load the published weights (needs the network).

    Raises:
        InputError: for fewer than 2 classes, a name that timm does not know, or weights that cannot be fetched.
    """

    def __init__(self, name: str, classes: int, pretrained: bool = False) -> None:
        super().__init__()
        whole("classes", classes, 2)
        timm = require_timm(name, "model.name")
        if pretrained:
            with fetching(name):
                network = timm.create_model(name, pretrained=True, num_classes=classes)
        else:
            network = timm.create_model(name, num_classes=classes)
        config: Any = network.default_cfg
        self.network = Normalized(network, config["mean"], config["std"])

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        return self.network(x)


def require_timm(name: str, option: str) -> Any:
    """timm, if it has a network of this name, which ``option`` gave."""
    timm = import_timm()
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), 5)) or "see timm.list_models()"
        raise InputError(f"{option}: timm has no '{name}'{not_fetched(name) or f'; near it: {near}'}")
    return timm


@contextmanager
def fetching(name: str) -> Generator[None]:
    """A block that builds the network of this name with its published weights, whose errors become one line."""
    try:
        yield
    except Exception as error:  # the libraries below raise what they like
        instead = "where there is no network, load weights from a file"
        raise InputError(f"pretrained: cannot fetch the published weights of {name} ({first_line(error)}); {instead}") from error
