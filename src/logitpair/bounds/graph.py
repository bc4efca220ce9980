"""A network as a list of operations."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from logitpair.bounds.operations import Affine, BatchNorm, Elementwise, Layer, LeakyReLU, Nonlinear, Scale, Shape, Sum


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
    def exact(self) -> set[int]:
        """The steps whose intervals are the ranges of their values, as far as the operations show: one layer of weights from the image."""
        free, exact = {0}, {0}  # free: each number takes every value of its interval, whatever the others take
        for number, step in enumerate(self.steps, 1):
            elementwise = isinstance(step.operation, Elementwise | LeakyReLU)
            mixes = isinstance(step.operation, Affine) and not isinstance(step.operation, Sum)
            if elementwise and exact.issuperset(step.inputs):
                exact.add(number)
                free |= {number} if free.issuperset(step.inputs) else set()
            elif mixes and free.issuperset(step.inputs):
                exact.add(number)
        return exact

    def normalised_by(self, statistics: Mapping[nn.Module, tuple[Tensor, Tensor]]) -> Self:
        """The same network where these BatchNorms normalise by this mean and variance, each ``[channels]``."""
        return replace(self, steps=tuple(_normalised(step, statistics) for step in self.steps))

    @property
    def merged(self) -> Self:
        """The same network, where a layer of weights and what scales its value are one step, if nothing else takes that value."""
        used = Counter(source for step in self.steps for source in step.inputs)
        steps, shapes, renumbered = list[Step](), [self.shapes[0]], [0]
        for step, shape in zip(self.steps, self.shapes[1:], strict=True):
            before = steps[-1].operation if steps and renumbered[step.inputs[0]] == len(steps) and used[step.inputs[0]] == 1 else None
            scaled = before.scaled(step.operation) if isinstance(before, Layer) and isinstance(step.operation, Scale) else None
            if scaled is not None:
                steps[-1] = replace(steps[-1], operation=scaled)
            else:
                steps.append(Step(step.operation, tuple(renumbered[source] for source in step.inputs)))
                shapes.append(shape)
            renumbered.append(len(steps))
        return replace(self, steps=tuple(steps), shapes=tuple(shapes))


def _normalised(step: Step, statistics: Mapping[nn.Module, tuple[Tensor, Tensor]]) -> Step:
    norm = step.operation
    if isinstance(norm, BatchNorm) and norm.module in statistics:
        return replace(step, operation=norm.scale(*statistics[norm.module]))
    return step
