"""A network as a list of operations."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from logitpair.bounds.operations import Affine, BatchNorm, Nonlinear, Shape


@dataclass(frozen=True)
class Step:
    """An operation on the values of earlier steps; the value of step 0 is the image."""

    operation: Affine | Nonlinear
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A network's operations in an order in which each follows its inputs; the last one gives the logits.

    Args:
        steps: all but the image; step ``i`` is ``steps[i - 1]``.
        shapes: of one example of each step's value, the image's first.
    """

    steps: tuple[Step, ...]
    shapes: tuple[Shape, ...]

    @property
    def logits(self) -> int:
        """The number of the last step."""
        return len(self.steps)

    @property
    def nonlinear_inputs(self) -> list[int]:
        """The steps whose values an operation that is not affine takes, in order."""
        return sorted({source for step in self.steps if not isinstance(step.operation, Affine) for source in step.inputs})

    def normalised_by(self, statistics: Mapping[nn.Module, tuple[Tensor, Tensor]]) -> Self:
        """The same network where these BatchNorms normalise by this mean and variance, each ``[channels]``."""
        return replace(self, steps=tuple(_normalised(step, statistics) for step in self.steps))


def _normalised(step: Step, statistics: Mapping[nn.Module, tuple[Tensor, Tensor]]) -> Step:
    norm = step.operation
    if isinstance(norm, BatchNorm) and norm.module in statistics:
        return replace(step, operation=norm.scale(*statistics[norm.module]))
    return step
