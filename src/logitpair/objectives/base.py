"""What every objective is: a frozen dataclass called with ``(model, x, y, generator=)`` that returns a loss and its named terms."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from logitpair.errors import InputError
from logitpair.losses import Labels as Labels, Logits
from logitpair.models.inference import Images as Images, compute_logits
from logitpair.rng import RandomSource as RandomSource
from logitpair.runtime.distributed import unwrap_model
from logitpair.validate import check_batch, check_labels, check_model, fraction


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
    logits: dict[str, Logits]


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """A defense: what to minimise on a batch. Subclasses are frozen dataclasses that implement ``loss`` (and ``at`` for schedules).

    Args:
        label_smoothing: part of each label spread evenly over all classes, the true one included, in every cross-entropy with the labels
            that the defense takes by ``self.cross_entropy``; in [0, 1).

    Raises:
        InputError: for a value outside the range that its description gives, here and in every subclass.

    Source of the smoothing: arXiv 1512.00567, section 7.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        fraction("label_smoothing", self.label_smoothing, one=False)

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: RandomSource | None = None) -> LossTerms:
        """The loss on a batch, ready for ``.total.backward()``.

        Args:
            model: maps images to logits; it may be wrapped for data-parallel training. Its gradients are left alone until ``backward``.
            x: images in [0, 1], float32 or float64 ``[batch, channels, height, width]``.
            y: labels, int64 ``[batch]``.
            generator: source of all randomness; the global one if None.

        Raises:
            InputError: for no images, images not in [0, 1], labels outside the classes, or a model that is none or returns no logits.
        """
        check_model("model", model)
        check_batch(x, y)
        if not len(x):
            raise InputError("x: the batch is empty; it must hold at least one image")
        result = self.loss(model, x, y, generator)
        return result if "auxiliary" in result.terms else with_auxiliary(result, model, y, self.cross_entropy)

    @abstractmethod
    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        """Compute the loss for checked input."""

    def cross_entropy(self, logits: Tensor, y: Labels) -> Float[Tensor, " batch"]:
        """The cross-entropy with the smoothed labels, ``[batch]``."""
        return F.cross_entropy(logits, y, reduction="none", label_smoothing=self.label_smoothing)

    def at(self, epoch: float) -> Self:
        """The objective ``epoch`` epochs into training (warm-ups); itself where nothing changes."""
        return self

    def prepare(self, model: nn.Module, x: Images) -> None:  # noqa: B027  (most have nothing to look at)
        """Before training, refuse with an ``InputError`` a setting that does not fit the network to be trained or a few images."""


def with_auxiliary(result: LossTerms, model: nn.Module, y: Labels, cross_entropy: Callable[[Tensor, Any], Tensor]) -> LossTerms:
    """The loss with that of the network's auxiliary classifier, where it has one: a second head, deep inside, that helps training.

    A network with one keeps, on any of its modules, its ``auxiliary_logits`` of the last forward in train mode, ``[n * batch, classes]``
    for ``n`` batches at once (None after any other forward), and ``auxiliary_weight``. The mean ``cross_entropy`` on all of them is the
    term ``auxiliary``, added to the total with that weight. Penalties pair the main logits only.

    Source: arXiv 1512.00567, section 4, as InceptionV3 trains.
    """
    heads = (module for module in unwrap_model(model).modules() if isinstance(getattr(module, "auxiliary_logits", None), Tensor))
    head: Any = next(heads, None)
    if head is None:
        return result
    logits = head.auxiliary_logits.to(result.total.dtype)
    if len(logits) % len(y):
        raise InputError(f"model: {len(logits)} auxiliary_logits for {len(y)} labels; there must be a multiple of them")
    auxiliary = cross_entropy(logits, y.repeat(len(logits) // len(y))).mean()
    return LossTerms(result.total + head.auxiliary_weight * auxiliary, result.terms | {"auxiliary": auxiliary}, result.logits)


def forward_together(model: nn.Module, y: Labels, *batches: Images) -> tuple[Tensor, ...]:
    """Logits of several batches from one concatenated forward: one set of BatchNorm statistics, one pass through DDP."""
    logits = compute_logits(model, torch.cat(batches))
    check_labels(y, logits.shape[1])
    return logits.split([len(batch) for batch in batches])


def mean_of(values: Tensor, x: Images) -> Float[Tensor, ""]:
    """The mean of a penalty's values, which must be one an image, so that a function that averages by itself is not averaged twice."""
    if values.shape != x.shape[:1]:
        raise InputError(f"the penalty must give one number an image, [{len(x)}], not {list(values.shape)}; see logitpair.losses")
    return values.mean()
