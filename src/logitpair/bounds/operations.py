"""What a network is made of, operation by operation: each one's value, its interval, and its part in bounds by linear functions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape: TypeAlias = tuple[int, ...]  # of one example


class Interval(NamedTuple):
    """Two tensors of one shape that every value lies between."""

    lower: Tensor
    upper: Tensor

    @property
    def width(self) -> Tensor:
        return self.upper - self.lower


class Operation(ABC):
    """A function of one or several tensors ``[batch, ...]``, example by example; each is ``Affine`` or ``Nonlinear``."""

    @abstractmethod
    def interval(self, *inputs: Interval) -> Interval:
        """Where the values lie for inputs within these intervals."""


class Affine(Operation):
    """A linear function plus a constant.

    ``center`` is the function itself, ``radius`` its linear part with the absolute values of the weights: an interval ``c - r, c + r``
    becomes ``center(c) - radius(r), center(c) + radius(r)`` (arXiv 1810.12715, section 3).
    """

    @abstractmethod
    def center(self, *x: Tensor) -> Tensor: ...

    @abstractmethod
    def radius(self, *r: Tensor) -> Tensor: ...

    def interval(self, *inputs: Interval) -> Interval:
        center = self.center(*[(lower + upper) / 2 for lower, upper in inputs])
        radius = self.radius(*[(upper - lower) / 2 for lower, upper in inputs])
        return Interval(center - radius, center + radius)

    def transpose(self, rows: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        """The linear functions ``rows`` of the output, ``[n, *output]``, as functions of each input, ``[n, *input]``; no constants."""
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            x = [rows.new_zeros(len(rows), *shape, requires_grad=True) for shape in shapes]
            return list(torch.autograd.grad(self.center(*x), x, rows, create_graph=wanted))


@dataclass(frozen=True)
class Linear(Affine):
    """``nn.Linear``."""

    module: Any  # with ``weight`` and ``bias``, as long as the network lives: training changes them

    def center(self, *x: Tensor) -> Tensor:
        return F.linear(x[0], self.module.weight, self.module.bias)

    def radius(self, *r: Tensor) -> Tensor:
        return F.linear(r[0], self.module.weight.abs())

    def transpose(self, rows: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        return [rows @ self.module.weight]


@dataclass(frozen=True)
class Conv2d(Affine):
    """``nn.Conv2d`` with zeros beyond the border."""

    module: Any
    padding: tuple[int, int]

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.module.stride, self.padding, self.module.dilation, self.module.groups)

    def center(self, *x: Tensor) -> Tensor:
        return self._convolve(x[0], self.module.weight, self.module.bias)

    def radius(self, *r: Tensor) -> Tensor:
        return self._convolve(r[0], self.module.weight.abs(), None)

    def transpose(self, rows: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        module: nn.Conv2d = self.module
        sizes = zip(shapes[0][1:], rows.shape[-2:], module.kernel_size, module.stride, self.padding, module.dilation, strict=True)
        beyond = [size - ((out - 1) * stride - 2 * pad + step * (kernel - 1) + 1) for size, out, kernel, stride, pad, step in sizes]
        return [
            F.conv_transpose2d(rows, module.weight, None, module.stride, self.padding, beyond, module.groups, module.dilation)  # type: ignore[arg-type]
        ]


class Elementwise(Affine):
    """``x * factor + shift``, which broadcast over the batch."""

    @abstractmethod
    def factor_and_shift(self) -> tuple[Tensor, Tensor]: ...

    def center(self, *x: Tensor) -> Tensor:
        factor, shift = self.factor_and_shift()
        return x[0] * factor + shift

    def radius(self, *r: Tensor) -> Tensor:
        return r[0] * self.factor_and_shift()[0].abs()


@dataclass(frozen=True)
class Scale(Elementwise):
    """By this factor and this shift."""

    factor: Tensor
    shift: Tensor

    def factor_and_shift(self) -> tuple[Tensor, Tensor]:
        return self.factor, self.shift


@dataclass(frozen=True)
class Arithmetic(Elementwise):
    """A sum, difference, product or quotient with a constant, of the value that it has when bounds are computed: it may be trained."""

    constant: Tensor
    parts: Callable[[Tensor], tuple[Tensor, Tensor]]  # factor and shift

    def factor_and_shift(self) -> tuple[Tensor, Tensor]:
        return self.parts(self.constant)


@dataclass(frozen=True)
class BatchNorm(Elementwise):
    """``nn.BatchNorm1d`` and ``nn.BatchNorm2d`` by their running statistics, as in eval mode."""

    module: Any

    def factor_and_shift(self) -> tuple[Tensor, Tensor]:
        scale = self.scale(self.module.running_mean, self.module.running_var)
        return scale.factor, scale.shift

    def scale(self, mean: Tensor, variance: Tensor) -> Scale:
        """What it does by these statistics, ``[channels]``."""
        norm = self.module
        factor = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
        shift = (0 if norm.bias is None else norm.bias) - mean * factor
        spatial = getattr(norm, "spatial", isinstance(norm, nn.BatchNorm2d))
        sizes = (-1, 1, 1) if spatial else (-1,)
        return Scale(factor.view(sizes), shift.view(sizes))


@dataclass(frozen=True)
class NonnegativeLinear(Affine):
    """A linear function whose weights are at least 0: average poolings, reshapes, padding with zeros, joins."""

    function: Callable[..., Tensor]

    def center(self, *x: Tensor) -> Tensor:
        return self.function(*x)

    def radius(self, *r: Tensor) -> Tensor:
        return self.function(*r)


@dataclass(frozen=True)
class Sum(Affine):
    """``x + sign * y``, as of a residual connection."""

    sign: int = 1

    def center(self, *x: Tensor) -> Tensor:
        return x[0] + self.sign * x[1]

    def radius(self, *r: Tensor) -> Tensor:
        return r[0] + r[1]


class Nonlinear(Operation):
    """A monotone function of one tensor that lies between two linear functions of it."""

    @abstractmethod
    def function(self, x: Tensor) -> Tensor: ...

    def interval(self, *inputs: Interval) -> Interval:
        ((lower, upper),) = inputs
        return Interval(self.function(lower), self.function(upper))

    @abstractmethod
    def relax(self, rows: Tensor, inputs: Interval, slope: Tensor | None) -> tuple[Tensor, Tensor]:
        """The linear functions of the input that lie below the functions ``rows`` of the output.

        Args:
            rows: ``[batch, n, *output]``.
            inputs: where the input lies, ``[batch, *input]``.
            slope: from 0 to 1, of the line below where there is a choice, ``[batch, n, *input]``; None chooses.

        Returns:
            Their coefficients ``[batch, n, *input]`` and constants ``[batch, n]``.
        """


@dataclass(frozen=True)
class LeakyReLU(Nonlinear):
    """``max(x, negative_slope * x)``, with a slope from 0 (ReLU) to below 1."""

    negative_slope: float = 0.0

    def function(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope) if self.negative_slope else F.relu(x)

    def relax(self, rows: Tensor, inputs: Interval, slope: Tensor | None) -> tuple[Tensor, Tensor]:
        """The chord above; below, a line through 0: by default the function's smaller side is given up (arXiv 1811.00866, section 3.3)."""
        lower, upper = (bound.unsqueeze(1) for bound in inputs)
        least = self.negative_slope
        unstable = (lower < 0) & (upper > 0)
        one = rows.new_ones(())
        stable = torch.where(lower >= 0, one, least)  # the slope on its side of 0
        chord = torch.where(unstable, (upper - least * lower) / torch.where(unstable, upper - lower, 1), stable)
        chosen = torch.where(upper > -lower, one, least) if slope is None else least + (1 - least) * slope
        below = torch.where(unstable, chosen, stable)
        above_at_0 = torch.where(unstable, upper * (1 - chord), 0)
        positive, negative = rows.clamp(min=0), rows.clamp(max=0)
        return positive * below + negative * chord, (negative * above_at_0).flatten(2).sum(2)


@dataclass(frozen=True)
class MaxPool2d(Nonlinear):
    """``F.max_pool2d`` with these settings."""

    settings: dict[str, Any]

    def function(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, **self.settings)

    def relax(self, rows: Tensor, inputs: Interval, slope: Tensor | None) -> tuple[Tensor, Tensor]:
        """Below, the input of a window that is largest at its least; above, the same where it always is the largest, else a constant."""
        lower, upper = inputs
        _, largest = F.max_pool2d(lower, **self.settings, return_indices=True)
        flat = largest.flatten(2)
        above = F.max_pool2d(upper, **self.settings)
        others = self._largest_other(upper, largest)
        decided = lower.flatten(2).gather(2, flat).view_as(largest) >= others
        batch, n = rows.shape[:2]
        negative = rows.clamp(max=0)
        through = rows.clamp(min=0) + negative * decided.unsqueeze(1)
        constant = (negative * torch.where(decided, 0, above).unsqueeze(1)).flatten(2).sum(2)
        into = rows.new_zeros(batch, n, *lower.flatten(2).shape[1:])
        into = into.scatter_add(3, flat.unsqueeze(1).expand(-1, n, -1, -1), through.flatten(3))
        return into.view(batch, n, *lower.shape[1:]), constant

    def _largest_other(self, upper: Tensor, chosen: Tensor) -> Tensor:
        """The largest upper bound in each window beside that of the chosen input."""
        settings = {name: self.settings[name] for name in ("kernel_size", "stride", "padding", "dilation")}
        batch, channels, height, width = upper.shape
        windows = F.unfold(_padded(upper, settings["padding"]), settings["kernel_size"], settings["dilation"], 0, settings["stride"])
        numbers = torch.arange(height * width, device=upper.device, dtype=upper.dtype).view(1, 1, height, width)
        places = F.unfold(_padded(numbers, settings["padding"]), settings["kernel_size"], settings["dilation"], 0, settings["stride"])
        windows = windows.view(batch, channels, -1, windows.shape[-1])
        is_chosen = places.view(1, 1, -1, places.shape[-1]) == chosen.flatten(2).unsqueeze(2)
        return windows.masked_fill(is_chosen, -torch.inf).amax(2).view_as(chosen)


def _padded(x: Tensor, padding: int | tuple[int, int]) -> Tensor:
    height, width = (padding, padding) if isinstance(padding, int) else padding
    return F.pad(x, (width, width, height, height), value=-torch.inf)
