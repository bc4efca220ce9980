"""Any network of timm, taking pixels in [0, 1]."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from logitpair.compat import import_timm
from logitpair.errors import InputError
from logitpair.models.normalized import Normalized


class Timm(nn.Module):
    """A network by its timm name, its normalisation inside.

    Args:
        name: a name of ``timm.list_models()``, such as ``resnet18`` or ``inception_v3``.
        classes: number of logits.
        pretrained: load the published weights (needs the network).

    Raises:
        InputError: for a name that timm does not know.
    """

    def __init__(self, name: str, classes: int, pretrained: bool = False) -> None:
        super().__init__()
        network = require_timm(name, "model.name").create_model(name, pretrained=pretrained, num_classes=classes)
        config: Any = network.default_cfg
        self.network = Normalized(network, config["mean"], config["std"])

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Logits of images in [0, 1]."""
        return self.network(x)


def require_timm(name: str, option: str) -> Any:
    """timm, which knows a network of this name.

    Args:
        name: of the network.
        option: what the name was given by.

    Raises:
        InputError: if it does not, with the nearest names.
    """
    timm = import_timm()
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:5]) or "see timm.list_models()"
        raise InputError(f"{option}: timm has no '{name}'; near it: {near}")
    return timm
