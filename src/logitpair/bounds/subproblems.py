"""What bounds are improved on: a function of the logits over the part of a ball where some ReLUs are held on one side of 0."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import Any, Self

import torch
from torch import Tensor

from logitpair.bounds.ball import Ball
from logitpair.bounds.graph import Graph
from logitpair.bounds.linear import lower_bounds
from logitpair.bounds.operations import Interval

PerStep = dict[int, Tensor]  # by the number of a step


@dataclass(frozen=True, eq=False)
class Subproblems:
    """Subproblems of a batch of images, ``n`` of them; slopes and multipliers are float32 whatever the network's dtype is.

    Args:
        image: the number of the image in its batch, ``[n]``.
        rows: the function of the logits, ``[n, classes]``.
        bound: the largest lower bound that is known, ``[n]``.
        signs: for each step that goes into a ReLU, 1 where its value is at least 0 in this part, -1 where at most 0, and 0 where it is
            free, ``[n, *value]``.
        slopes: for each ReLU, of the line below it, from 0 to 1, ``[n, *input]``.
        multipliers: for each step that goes into a ReLU, what a value on the wrong side of 0 costs, at least 0, ``[n, *value]``; they
            count where ``signs`` are not 0.
    """

    image: Tensor
    rows: Tensor
    bound: Tensor
    signs: PerStep
    slopes: PerStep
    multipliers: PerStep

    @classmethod
    def whole(cls, relaxation: "Relaxation", rows: Tensor, bound: Tensor, places: Tensor) -> Self:
        """The whole balls, with the functions at these places, ``[n]``, among all ``[batch * m]``.

        Args:
            relaxation: of the images.
            rows: the functions, ``[batch, m, classes]``.
            bound: what is known of them, ``[batch, m]``.
            places: of each in turn.
        """
        graph, inside, image = relaxation.graph, relaxation.inside, places // bound.shape[1]
        free = {step: torch.zeros(len(image), *graph.shapes[step], device=image.device) for step in set(graph.relus.values())}
        signs = {step: zero.to(torch.int8) for step, zero in free.items()}
        slopes = {relu: (inside[step].upper > -inside[step].lower).float()[image] for relu, step in graph.relus.items()}
        return cls(image, rows.flatten(0, 1)[places], bound.flatten()[places], signs, slopes, free)

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: Tensor | slice) -> Self:
        return _tensor_by_tensor(itemgetter(index), self)

    @classmethod
    def joined(cls, many: Sequence[Self]) -> Self:
        return _tensor_by_tensor(lambda *tensors: torch.cat(tensors), *many)

    def split(self, size: int) -> list[Self]:
        """In turn, at most ``size`` at once."""
        return [self[start : start + size] for start in range(0, len(self), size)]


def _tensor_by_tensor(function: Callable[..., Tensor], *many: Any) -> Any:
    """What a function of the corresponding tensors of all gives."""
    parts = {}
    for name in [each.name for each in fields(many[0])]:
        values = [getattr(one, name) for one in many]
        nested = isinstance(values[0], dict)
        parts[name] = {key: function(*[value[key] for value in values]) for key in values[0]} if nested else function(*values)
    return type(many[0])(**parts)


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What the bounds of a batch of images are found with: the network, the images' balls, and the intervals before its ReLUs.

    Args:
        graph: the network.
        ball: the images, in the dtype of its weights.
        inside: intervals of its ``nonlinear_inputs``.
    """

    graph: Graph
    ball: Ball
    inside: Mapping[int, Interval]

    def of(self, graph: Graph) -> "Relaxation":
        """The same of the same network in float32."""
        inside = {step: Interval(*(bound.float() for bound in interval)) for step, interval in self.inside.items()}
        return Relaxation(graph, Ball(self.ball.threat, self.ball.x.float()), inside)

    def within(self, subproblems: Subproblems, step: int) -> Interval:
        """The interval of a step in these parts of the balls."""
        lower, upper = (bound[subproblems.image] for bound in self.inside[step])
        if (signs := subproblems.signs.get(step)) is None:
            return Interval(lower, upper)
        return Interval(torch.where(signs > 0, lower.clamp(min=0), lower), torch.where(signs < 0, upper.clamp(max=0), upper))

    def bounds(self, subproblems: Subproblems, seen: PerStep | None = None) -> Tensor:
        """Lower bounds of the subproblems by their slopes and multipliers, ``[n]``; ``seen`` as in ``lower_bounds``.

        A function ``f`` is nowhere in the part below the least that ``f`` less each multiplier times its value, taken with the sign that
        it has there, reaches (beta-CROWN, arXiv 2103.06624, section 3).
        """
        x, dtype = self.ball.x, self.ball.x.dtype
        return lower_bounds(
            self.graph,
            subproblems.rows.to(dtype).unsqueeze(1),
            {step: self.within(subproblems, step) for step in self.inside},
            Ball(self.ball.threat, x[subproblems.image]),
            slopes={relu: slope.to(dtype).unsqueeze(1) for relu, slope in subproblems.slopes.items()},
            added={step: (-each.to(dtype) * subproblems.signs[step]).unsqueeze(1) for step, each in subproblems.multipliers.items()},
            seen=seen,
        ).squeeze(1)
