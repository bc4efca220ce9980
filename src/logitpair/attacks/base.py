"""What every attack is: a frozen dataclass called with ``(model, x, y, generator=)`` that leaves no trace on the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator as Generates
from contextlib import contextmanager
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from logitpair.random import Generator
from logitpair.threat import Linf
from logitpair.validate import check_batch, check_logits

Images = Float[Tensor, "batch channels height width"]
Labels = Int[Tensor, " batch"]


class Attack(ABC):
    """A search for misclassified images in a threat model.

    Subclasses are frozen dataclasses whose fields are the hyper-parameters; they implement ``search``.
    """

    threat: Linf

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: Generator | None = None) -> Images:
        """Return ``x_adv``, in the ball around ``x`` and in the box.

        Args:
            model: maps images ``[batch, channels, height, width]`` to logits ``[batch, classes]``. It is run in eval mode and left
                as it was: gradients, ``requires_grad``, buffers and modes, also after an exception.
            x: images in [0, 1], float32 or float64.
            y: true labels, ``[batch]`` int64.
            generator: source of all randomness, on any device; the global one if None.

        Raises:
            InputError: for images outside [0, 1] or not finite, labels outside the classes, or a model that does not return logits.
        """
        check_batch(x, y)
        with torch.inference_mode(False), undisturbed(model):
            x, y = (part.clone() if part.is_inference() else part.detach() for part in (x, y))
            x_adv = self.search(model, x, y, generator) if len(x) else x.clone()
            return self.threat.project(x_adv.detach(), x)

    @abstractmethod
    def search(self, model: nn.Module, x: Images, y: Labels, generator: Generator | None) -> Images:
        """Find ``x_adv`` for checked input; the model is frozen and in eval mode."""

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """The same attack in a ball ``factor`` times as large, its steps scaled alike."""

    def exhaustive(self) -> Self:
        """The same attack searching to its last step, broken or not: what training and transfer to another model need."""
        return self


def logits_of(model: nn.Module, x: Images) -> Float[Tensor, "batch classes"]:
    """The model's logits in the images' dtype (whatever autocast computed them in), checked for shape."""
    return check_logits(model(x), x)


@contextmanager
def undisturbed(model: nn.Module) -> Generates[None]:
    """Run the model in eval mode with frozen parameters; on leaving, put back modes, ``requires_grad`` and buffers."""
    training = [module for module in model.modules() if module.training]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    try:
        for module in training:
            module.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for module in training:
            module.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for module, name, buffer, before in buffers:  # written in place, or replaced by another tensor
                setattr(module, name, buffer)
                buffer.copy_(before)
