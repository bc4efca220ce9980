"""What every objective is: a frozen dataclass called with ``(model, x, y, generator=)`` that returns a loss and its named terms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from logitpair import losses
from logitpair.errors import InputError
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource
from logitpair.runtime.distributed import bare
from logitpair.validate import check_batch, check_labels

Images = Float[Tensor, "batch channels height width"]
Labels = Int[Tensor, " batch"]
AUXILIARY = "auxiliary"  # the name of the auxiliary classifier's term


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

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: RandomSource | None = None) -> LossTerms:
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
        result = self.loss(model, x, y, generator)
        return result if AUXILIARY in result.terms else with_auxiliary(result, model, y, self.cross_entropy)

    def __post_init__(self) -> None:  # noqa: B027  (nothing to refuse here)
        """Refuse settings that are none; a subclass calls it and adds its own."""

    @abstractmethod
    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        """Compute the loss for checked input."""

    def cross_entropy(self, logits: Tensor, y: Labels) -> Float[Tensor, " batch"]:
        """The cross-entropy with the labels, ``[batch]``, that this defense means."""
        return losses.cross_entropy(logits, y)

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


@dataclass(frozen=True, kw_only=True)
class SmoothedLabels(Objective):
    """A defense whose cross-entropies with the labels may be smoothed.

    Args:
        label_smoothing: share of each label that is spread evenly over all classes, the true one included, in [0, 1).

    Raises:
        InputError: for ``label_smoothing`` outside [0, 1).

    Source: arXiv 1512.00567, section 7.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}")

    def cross_entropy(self, logits: Tensor, y: Labels) -> Float[Tensor, " batch"]:
        exact = super().cross_entropy(logits, y)
        return torch.lerp(exact, losses.uniform_cross_entropy(logits), self.label_smoothing) if self.label_smoothing else exact


def with_auxiliary(result: LossTerms, model: nn.Module, y: Labels, cross_entropy: Callable[[Tensor, Any], Tensor]) -> LossTerms:
    """The loss with that of the network's auxiliary classifier, where it has one: a second head, deep inside, that helps training.

    A network with one keeps, on the module that computes them or on any around it, its ``auxiliary_logits`` of the last forward in
    train mode, ``[n * batch, classes]`` for ``n`` batches at once (None after any other forward), and ``auxiliary_weight``. The mean
    cross-entropy on all of them is the term ``auxiliary``, added to the total with that weight. Penalties pair the main logits only.

    Args:
        result: without it.
        model: the network, which may be wrapped for data-parallel training.
        y: labels, ``[batch]``.
        cross_entropy: ``cross_entropy(logits, labels) -> [n * batch]``.

    Raises:
        InputError: for auxiliary logits that are not as many as a multiple of the labels.

    Source: arXiv 1512.00567, section 4, as InceptionV3 trains.
    """
    heads = (module for module in bare(model).modules() if isinstance(getattr(module, "auxiliary_logits", None), Tensor))
    head: Any = next(heads, None)
    if head is None:
        return result
    logits = head.auxiliary_logits.to(result.total.dtype)
    if len(logits) % len(y):
        raise InputError(f"model: {len(logits)} auxiliary_logits for {len(y)} labels; there must be a multiple of them")
    auxiliary = cross_entropy(logits, y.repeat(len(logits) // len(y))).mean()
    return LossTerms(result.total + head.auxiliary_weight * auxiliary, result.terms | {AUXILIARY: auxiliary}, result.logits)


def forward_together(model: nn.Module, y: Labels, *batches: Images) -> tuple[Tensor, ...]:
    """Logits of several batches from one concatenated forward: one set of BatchNorm statistics, one pass through DDP.

    Raises:
        InputError: if the labels ``y`` lie outside the classes that the logits stand for.
    """
    logits = compute_logits(model, torch.cat(batches))
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
