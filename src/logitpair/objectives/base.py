"""What every objective is: a frozen dataclass called with ``(model, x, y, generator=)`` that returns a loss and its named terms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from logitpair.attacks.base import logits_of
from logitpair.errors import InputError
from logitpair.random import Generator
from logitpair.validate import check_batch, check_labels

Images = Float[Tensor, "batch channels height width"]
Labels = Int[Tensor, " batch"]


@dataclass(frozen=True)
class LossTerms:
    """What a training step minimises, and what it is made of.

    Args:
        total: the scalar to differentiate.
        terms: named scalars, before their weights; the loop logs whatever is here.
        logits: named logits (``clean``, ``adversarial``, ...), each ``[batch, classes]`` and aligned with ``y``, for accuracies; empty
            where none are (mixup).
    """

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]
    logits: dict[str, Float[Tensor, "batch classes"]]


class Objective(ABC):
    """A defense: what to minimise on a batch. Subclasses are frozen dataclasses that implement ``loss`` (and ``at`` for schedules)."""

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: Generator | None = None) -> LossTerms:
        """The loss on a batch, ready for ``.total.backward()``.

        Args:
            model: maps images to logits; it may be wrapped for data-parallel training. Its gradients are left alone until ``backward``.
            x: images in [0, 1], float32 or float64 ``[batch, channels, height, width]``.
            y: labels, int64 ``[batch]``.
            generator: source of all randomness; the global one if None.

        Raises:
            InputError: for no images, images outside [0, 1] or not finite, labels outside the classes, or a model that does not return
                logits.
        """
        check_batch(x, y)
        if not len(x):
            raise InputError("x: the batch is empty; it must hold at least one image")
        return self.loss(model, x, y, generator)

    def __post_init__(self) -> None:  # noqa: B027  (nothing to refuse here)
        """Refuse settings that are none; a subclass calls it and adds its own."""

    @abstractmethod
    def loss(self, model: nn.Module, x: Images, y: Labels, generator: Generator | None) -> LossTerms:
        """Compute the loss for checked input."""

    def at(self, epoch: float) -> Self:
        """The objective as it stands ``epoch`` epochs into training (warm-ups); itself where nothing changes."""
        return self

    def prepare(self, model: nn.Module, x: Images) -> None:  # noqa: B027  (most have nothing to look at)
        """Look, before training, at what would otherwise be refused in the middle of it.

        Args:
            model: the network to be trained.
            x: a few images.

        Raises:
            InputError: naming the setting that does not fit the model or the images.
        """


def forward_together(model: nn.Module, y: Labels, *batches: Images) -> tuple[Tensor, ...]:
    """Logits of several batches from one concatenated forward: one set of BatchNorm statistics, one pass through DDP.

    Raises:
        InputError: if the labels ``y`` lie outside the classes that the logits stand for.
    """
    logits = logits_of(model, torch.cat(batches))
    check_labels(y, logits.shape[1])
    return logits.split([len(batch) for batch in batches])


def mean_of(values: Tensor, x: Images) -> Float[Tensor, ""]:
    """The mean of a penalty's values.

    Raises:
        InputError: if they are not one number an image, so that a function that averages by itself is not averaged twice.
    """
    if values.shape != x.shape[:1]:
        raise InputError(f"the penalty must give one number an image, [{len(x)}], not {list(values.shape)}; see logitpair.losses")
    return values.mean()
