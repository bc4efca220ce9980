"""Networks as other libraries of attacks take them."""

from typing import Any

import torch
from torch import nn

from logitpair.models.inference import count_logits, device_of
from logitpair.runtime.lazy_imports import import_optional


def as_foolbox(model: nn.Module) -> Any:
    """The network as foolbox's ``PyTorchModel``, for images in [0, 1], on its own device and in eval mode.

    Raises:
        InputError: where foolbox is not installed.
    """
    library = import_optional("foolbox.models.pytorch", "PyTorchModel", needed_by="as_foolbox", extra="foolbox")
    return library.PyTorchModel(model.eval(), bounds=(0, 1), device=device_of(model))


def as_art(model: nn.Module, shape: tuple[int, int, int]) -> Any:
    """The network as ART's ``PyTorchClassifier`` with cross-entropy, for images in [0, 1], on its own device and in eval mode.

    Args:
        model: any network from images in [0, 1] to logits.
        shape: channels, height and width of an image.

    Raises:
        InputError: where ART is not installed, and for a network that takes no such images.
    """
    library = import_optional("art.estimators.classification", "PyTorchClassifier", needed_by="as_art", extra="art")
    device = device_of(model)
    classes = count_logits(model.eval(), torch.zeros(shape, device=device))
    kind = "cpu" if device.type == "cpu" else "gpu"
    return library.PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0, 1), device_type=kind)
