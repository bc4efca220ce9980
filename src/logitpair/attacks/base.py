"""The interface of every attack: a frozen dataclass called with ``(model, x, y, generator=)`` that leaves the model as it was."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from logitpair.attacks.cpu_kernels import CPUKernels
from logitpair.attacks.cuda_graphs import CUDAGraphs
from logitpair.errors import InputError
from logitpair.losses import Labels as Labels, Logits
from logitpair.models.inference import Images as Images, frozen_eval
from logitpair.rng import ExampleStreams, RandomSource as RandomSource
from logitpair.threat import AnyThreat, Linf, check_threat
from logitpair.validate import check_batch, check_labels, check_model, dense, instance, kind_of, type_name


@dataclass(frozen=True)
class AttackResult:
    """What a search found, example by example.

    Args:
        x_adv: the images found.
        restart: the restart, from 0, that ``x_adv`` comes from; -1 where unknown.
        step: gradient steps taken in that restart; -1 where unknown.
        gradients: forward and backward passes spent on the image.
        forwards: forward passes without a backward one.
    """

    x_adv: Images
    restart: Labels
    step: Labels
    gradients: Float[Tensor, " batch"] | Labels
    forwards: Float[Tensor, " batch"] | Labels


class Attack(ABC):
    """A search for misclassified images in a threat model.

    Subclasses are frozen dataclasses whose fields are the hyper-parameters; they implement ``search``. One that stops at success has a
    field ``early_stop``. A ``__post_init__`` of theirs calls this one's. A value outside the range that its description gives raises
    ``InputError``.
    """

    threat: AnyThreat

    def __post_init__(self) -> None:
        check_threat(self.threat)
        instance("early_stop", getattr(self, "early_stop", False), bool, "True or False")

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: RandomSource | None = None) -> Images:
        """Return ``x_adv``, in the ball around ``x`` and in the box.

        Args:
            model: maps images ``[batch, channels, height, width]`` to logits ``[batch, classes]``. It is run in eval mode and left
                as it was: gradients, ``requires_grad``, buffers and modes, also after an exception.
            x: images in [0, 1], float32 or float64.
            y: true labels, ``[batch]`` int64.
            generator: source of all randomness, on any device; the global one if None.

        Raises:
            InputError: for images outside [0, 1] or not finite, labels outside the classes, what is no model of logits, or a seed where a
                generator belongs.
        """
        return self.find(model, x, y, generator=generator).x_adv

    def find(self, model: nn.Module, x: Images, y: Labels, *, generator: RandomSource | None = None) -> AttackResult:
        """``x_adv`` as a call returns it, with each example's restart, step and cost; arguments and errors as there."""
        check_model("model", model)
        check_batch(x, y)
        instance("generator", generator, RandomSource | None, "None or a random source such as torch.Generator().manual_seed(0)")
        if isinstance(generator, ExampleStreams) and len(generator.indices) != len(x):
            raise InputError(f"generator: has streams of {len(generator.indices)} examples; accepted: one for each of {len(x)} images")
        return self.find_unchecked(model, x, y, generator)

    def find_unchecked(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        """``find`` where the caller has checked model, images and labels, as evaluation, audit and training have."""
        with torch.inference_mode(False), frozen_eval(model):
            x, y = (part.clone() if part.is_inference() else part.detach() for part in (x, y))
            counted = QueryCounter(model)
            found = self.search(counted, x, y, generator) if len(x) else x.clone()
            if not isinstance(found, AttackResult):
                unknown, each = torch.full_like(y, -1), torch.full_like(y, 1 / max(1, len(y)), dtype=torch.float64)
                found = AttackResult(found, unknown, unknown, each * counted.gradients, each * counted.forwards)
            return replace(found, x_adv=self.threat.project(as_images(found.x_adv, x), x))

    @abstractmethod
    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Images | AttackResult:
        """Find ``x_adv`` for checked input; the model is frozen and in eval mode.

        For an attack that returns images alone, restart and step are recorded as unknown, and the cost as the same for each. What are no
        images in floating point and the shape of ``x`` is refused with an ``InputError``.
        """

    def scaled(self, factor: float) -> Self:
        """The same attack in a ball ``factor`` times as large; an attack with lengths of its own scales them too."""
        return replace(self, threat=self.threat.scaled(factor))  # type: ignore[type-var]

    def without_early_stop(self) -> Self:
        """The same attack searching each example to its last step, as training and transfer to another model need."""
        return replace(self, early_stop=False) if hasattr(self, "early_stop") else self  # type: ignore[type-var]


@dataclass(frozen=True)
class Unperturbed(Attack):
    """The images themselves, at eps 0: the beginning of a curve of accuracy against eps."""

    threat: AnyThreat = Linf(0.0)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Images:
        return x.clone()


class QueryCounter(nn.Module):
    """The model, counting the images that pass through it with and without a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.gradients, self.forwards = model, 0, 0
        self.graphs = CUDAGraphs(model)

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            self.forwards += len(x)
            return self.model(x)
        self.gradients += len(x)
        if x.is_cuda:
            return self.graphs(x)
        with CPUKernels():  # here and not around the search, whose every operation would pass through it
            return self.model(x)


def as_images(found: object, x: Images) -> Images:
    """What a search returned, like ``x``; refused is what is no image for each of these, over which it would be spread."""
    if not isinstance(found, Tensor) or found.shape != x.shape or not found.is_floating_point():
        kind = f" of {found.dtype}, of shape {list(found.shape)}" if isinstance(found, Tensor | np.ndarray) else ""
        raise InputError(f"attack: returned {type_name(found)}{kind}; accepted: images of floating point, of shape {list(x.shape)}")
    dense("attack: what it returns", found, "images")
    return found.detach().to(x)


def check_loss(loss: object) -> None:
    """Refuse a loss that is no function."""
    if not callable(loss) or isinstance(loss, type):
        raise InputError(f"loss must be a function such as lp.losses.cross_entropy, not {kind_of(loss)}")


def gradient_of(total: Float[Tensor, ""], x: Images) -> Images:
    """The gradient of a sum over the batch with respect to the images: zero where the model leaves none, as an argmax does."""
    if not total.requires_grad:
        return torch.zeros_like(x)
    # of tensors instead of edges, the call would run without SmoothBackward, and so would what a network recomputes in it
    edges = [get_gradient_edge(total)], [get_gradient_edge(x)]
    try:
        (gradient,) = cast(tuple[Tensor | None], torch.autograd.grad(*edges, allow_unused=True))
    except RuntimeError as error:
        if "use_reentrant" in str(error):
            found = "model: recomputes activations by torch.utils.checkpoint in a way that gives no gradient of the images alone"
            raise InputError(f"{found}; accepted: checkpoint(..., use_reentrant=False)") from error
        raise
    return torch.zeros_like(x) if gradient is None else gradient


def nth_other_class(logits: Logits, y: Labels, rank: int) -> Labels:
    """The class that is ``rank``-th by its logit among all but ``y``, ``[batch]``; 1 is the most likely."""
    check_labels(y, logits.shape[1])
    if rank >= logits.shape[1]:
        raise InputError(f"target_rank must be at most {logits.shape[1] - 1}, the model's other classes, not {rank}")
    others = logits.nan_to_num().scatter(1, y[:, None], -torch.inf)
    return others.sort(dim=1, descending=True, stable=True).indices[:, rank - 1]
