"""A network as a list of operations."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from logitpair.bounds.operations import Affine, BatchNorm, Elementwise, LeakyReLU, Nonlinear, Shape, Sum


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

    @property
    def relus(self) -> dict[int, int]:
        """The ReLUs, each with the step that it takes."""
        return {number: step.inputs[0] for number, step in enumerate(self.steps, 1) if isinstance(step.operation, LeakyReLU)}

    @property
    def exact(self) -> set[int]:
        """The steps whose intervals are the ranges of their values, as far as the operations show: one layer of weights from the image."""
        free, exact = {0}, {0}  # free: each number takes every value of its interval, whatever the others take
        for number, step in enumerate(self.steps, 1):
            elementwise = isinstance(step.operation, Elementwise | LeakyReLU)
            mixes = isinstance(step.operation, Affine) and not isinstance(step.operation, Sum)
            if elementwise and exact.issuperset(step.inputs):
                exact.add(number)
                spread = self.shapes[number] != self.shapes[step.inputs[0]]  # by a constant that is broadcast
                free |= {number} if free.issuperset(step.inputs) and not spread else set()
            elif mixes and free.issuperset(step.inputs):
                exact.add(number)
        return exact

    def normalised_by(self, statistics: Mapping[nn.Module, tuple[Tensor, Tensor]]) -> Self:
        """The same network where these BatchNorms normalise by this mean and variance, each ``[channels]``."""
        return replace(self, steps=tuple(_normalised(step, statistics) for step in self.steps))


def _normalised(step: Step, statistics: Mapping[nn.Module, tuple[Tensor, Tensor]]) -> Step:
    norm = step.operation
    if isinstance(norm, BatchNorm) and norm.module in statistics:
        return replace(step, operation=norm.scale(*statistics[norm.module]))
    return step
