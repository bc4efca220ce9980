"""A network on a box of images as a mixed-integer linear programme: which ReLUs are on is part of what is sought."""

import ctypes
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from logitpair.bounds.graph import Graph
from logitpair.bounds.operations import Affine, Interval, LeakyReLU

_SOLVING = threading.Lock()


class AffineValue(NamedTuple):
    """The value of a step as a function of the programme's variables: ``constant``, ``[*value]``, and ``rows``, ``[variables, *value]``."""

    constant: Tensor
    rows: Tensor

    def among(self, variables: int) -> Tensor:
        """The rows, of 0 for the variables that came later."""
        return torch.cat([self.rows, self.rows.new_zeros(variables - len(self.rows), *self.constant.shape)])


class Programme:
    """All images of a box, and what a network of ReLUs makes of them, exactly.

    The variables are the image's pixels and then, for each *free* ReLU, whose input may be on either side of 0 in the box, its output. A
    binary variable says which side: 1 above. All other values are affine in these.

    Args:
        graph: the network, whose only nonlinear operations are ``LeakyReLU``.
        box: where the image lies, each ``[channels, height, width]``.

    Attributes:
        free: the number of free ReLUs.

    Source: Tjeng, Xiao and Tedrake 2019, arXiv 1711.07356, section 4.1.
    """

    def __init__(self, graph: Graph, box: Interval) -> None:
        self.image = box.lower.shape
        self.lower, self.upper = (bound.flatten() for bound in box)
        self._relus: list[tuple[Tensor, Tensor, Interval, float, int]] = []
        pixels = len(self.lower)
        values = [AffineValue(torch.zeros_like(box.lower), torch.eye(pixels).to(box.lower).view(pixels, *self.image))]
        for step in graph.steps:
            inputs = [values[source] for source in step.inputs]
            operation = step.operation
            values.append(_affine(operation, inputs) if isinstance(operation, Affine) else self._relu(operation, *inputs))  # type: ignore[arg-type]
        self.free = len(self.lower) - pixels
        self._logits = values[-1]

    def _relu(self, operation: LeakyReLU, z: AffineValue) -> AffineValue:
        """The output, for which every free ReLU becomes a variable."""
        constant, rows, slope = z.constant.flatten(), z.rows.flatten(1), operation.negative_slope
        positive, negative, before = rows.clamp(min=0), rows.clamp(max=0), len(self.lower)
        lower = constant + self.lower[: len(rows)] @ positive + self.upper[: len(rows)] @ negative
        upper = constant + self.upper[: len(rows)] @ positive + self.lower[: len(rows)] @ negative
        free = ((lower < 0) & (upper > 0)).nonzero()[:, 0]
        factor = torch.where(lower >= 0, 1.0, slope).to(constant.dtype)
        factor[free] = 0
        self._relus.append((constant[free], rows[:, free].T, Interval(lower[free], upper[free]), slope, before))
        self.lower, self.upper = torch.cat([self.lower, slope * lower[free]]), torch.cat([self.upper, upper[free]])
        into = AffineValue(constant * factor, rows * factor).among(len(self.lower))
        into[before + torch.arange(len(free), device=free.device), free] = 1
        return AffineValue((constant * factor).view_as(z.constant), into.view(-1, *z.constant.shape))

    def maximum(self, weights: Tensor, nodes: int) -> Tensor | None:
        """An image of the box, the best that is found for this linear function of the logits, ``[classes]``; None if none is found.

        Args:
            weights: of the logits.
            nodes: of the solver's tree at most; the search ends there.
        """
        from scipy.optimize import milp  # here, because importing it takes a moment

        gain = self._logits.among(len(self.lower)) @ weights
        cost, lower, upper = (
            np.pad(_array(numbers), (0, self.free), constant_values=of_binary)
            for numbers, of_binary in ((-gain, 0), (self.lower, 0), (self.upper, 1))
        )
        integrality = np.repeat((0, 1), (len(self.lower), self.free))
        with _nothing_printed():
            found = milp(
                cost,
                constraints=self._constraints(),
                integrality=integrality,
                bounds=(lower, upper),
                options={"node_limit": nodes},
            )
        if found.x is None:
            return None
        pixels = self.image.numel()
        best = torch.from_numpy(found.x[:pixels]).to(gain)
        return torch.clamp(best, self.lower[:pixels], self.upper[:pixels]).view(self.image)  # which the solver exceeds by its tolerance

    def _constraints(self) -> list[tuple[Any, Any, Any]]:
        """What ties each free ReLU's output ``a`` to its input ``z``, between ``l`` and ``u``, and its binary ``b``: (rows, least, most).

        ``z <= a <= z - (1 - s) l (1 - b)`` and ``s z <= a <= s z + (1 - s) u b``, with the slope ``s`` of the side below 0.
        """
        from scipy import sparse

        found, variables, binary = [], len(self.lower) + self.free, len(self.lower)
        for constant, rows, (lower, upper), slope, first in self._relus:
            number = np.arange(len(constant))
            a, b = (sparse.csr_array((np.ones(len(number)), (number, at + number)), (len(number), variables)) for at in (first, binary))
            z = sparse.csr_array(np.pad(_array(rows), ((0, 0), (0, variables - rows.shape[1]))))
            z_0, low, high = (_array(each) for each in (constant, (1 - slope) * lower, (1 - slope) * upper))
            found += [
                (a - z, z_0, np.inf),
                (a - z - sparse.diags_array(low) @ b, -np.inf, z_0 - low),
                (a - slope * z, slope * z_0, np.inf),
                (a - slope * z - sparse.diags_array(high) @ b, -np.inf, slope * z_0),
            ]
            binary += len(number)
        return [(rows, least, most) for rows, least, most in found if rows.shape[0]]


def _array(numbers: Tensor) -> np.ndarray:
    return numbers.double().cpu().numpy()


def _affine(operation: Affine, inputs: list[AffineValue]) -> AffineValue:
    variables = max(len(value.rows) for value in inputs)
    constant = operation.center(*[value.constant.unsqueeze(0) for value in inputs])
    nothing = operation.center(*[torch.zeros_like(value.constant).unsqueeze(0) for value in inputs])
    return AffineValue(constant[0], operation.center(*[value.among(variables) for value in inputs]) - nothing)


@contextmanager
def _nothing_printed() -> Generator[None]:
    """Keep the solver's own lines, which no option of it silences, off the process's standard output; one thread at a time does."""
    with _SOLVING:
        try:
            kept = os.dup(1)
        except OSError:  # it is closed
            yield
            return
        with open(os.devnull, "wb") as nowhere:
            try:
                _flush()
                os.dup2(nowhere.fileno(), 1)
                yield
            finally:
                _flush()
                os.dup2(kept, 1)
                os.close(kept)


def _flush() -> None:
    """Write what C's own buffers hold, which is where the solver's lines are, to where standard output goes now."""
    ctypes.CDLL(None).fflush(None)
