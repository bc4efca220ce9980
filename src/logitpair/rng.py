"""Random numbers as an argument: one generator a batch, or one stream an example.

Training and evaluation pass ``ExampleStreams``, whose numbers belong to an example and not to its process or batch, so that no result
depends on the number of processes or the device. A ``torch.Generator`` does for everything else.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class ExampleStreams:
    """A stream of random numbers for each example of a batch, by a counter-based generator (splitmix64).

    Args:
        seed: any integer; ``derive_seed`` makes one from names.
        indices: ``[batch]``, the examples' positions: in the data set, or in the training step's batch over all processes.
        draws: how many have been made; each moves every stream by one.
    """

    seed: int
    indices: Int[Tensor, " batch"]
    draws: int = 0

    def uniform(self, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Uniform numbers in [0, 1): ``shape`` is ``[batch, ...]`` and example ``i`` gets its own."""
        numbers = shape[1:].numel()
        key = _signed(self.seed) + self.draws * 0x632BE59BD9B4E019 % (1 << 62)
        example = _splitmix64(self.indices.to(device).long() * -0x61C8864680B583EB + _signed(key))
        counter = torch.arange(numbers, device=device) * 0x1851F42D4C957F2D
        self.draws += 1
        bits = _splitmix64(_splitmix64(example[:, None] + counter[None, :]))
        unit = (bits >> 11).bitwise_and_((1 << 53) - 1).double().mul_(2.0**-53)
        return unit.to(dtype).clamp_(max=1 - torch.finfo(dtype).eps).view(shape)

    def common(self) -> float:
        """A uniform number in [0, 1), the same for all examples in whichever batches they are."""
        together = ExampleStreams(self.seed, torch.tensor([-1]), self.draws)  # the position of all examples together
        self.draws += 1
        return together.uniform(torch.Size([1]), torch.float64, torch.device("cpu")).item()

    def first(self, examples: int) -> Self:
        """The streams of the first examples of the batch."""
        return replace(self, indices=self.indices[:examples])


RandomSource = torch.Generator | ExampleStreams


def uniform_like(x: Float[Tensor, "batch ..."], generator: RandomSource | None) -> Float[Tensor, "batch ..."]:
    """Uniform numbers in [0, 1) in the shape, dtype and device of ``x``."""
    if isinstance(generator, ExampleStreams):
        return generator.uniform(x.shape, x.dtype, x.device)
    device = x.device if generator is None else generator.device
    return torch.rand(x.shape, dtype=x.dtype, device=device, generator=generator).to(x.device)


def uniform_number(generator: RandomSource | None) -> float:
    """One uniform number in [0, 1) for the whole batch: with ``ExampleStreams`` the same in every process."""
    if isinstance(generator, ExampleStreams):
        return generator.common()
    device = "cpu" if generator is None else generator.device
    return torch.rand((), dtype=torch.float64, device=device, generator=generator).item()


def normal_like(x: Float[Tensor, "batch ..."], generator: RandomSource | None) -> Float[Tensor, "batch ..."]:
    """Standard normal numbers in the shape, dtype and device of ``x``."""
    if isinstance(generator, ExampleStreams):
        unit = generator.uniform(x.shape, torch.float64, x.device)
        return torch.special.ndtri(unit.clamp_(min=2.0**-54)).to(x.dtype)  # the inverse of the normal distribution function
    device = x.device if generator is None else generator.device
    return torch.randn(x.shape, dtype=x.dtype, device=device, generator=generator).to(x.device)


def draw_sample(candidates: NDArray[np.int64], number: int, *parts: object) -> NDArray[np.int64]:
    """So many of the candidates, drawn by ``derive_seed(*parts)``, ascending; all where they are fewer."""
    return np.sort(np.random.default_rng(derive_seed(*parts)).permutation(candidates)[:number])


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that is a fixed function of ``parts`` (a run's seed, a step, an attack's name, ...)."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _signed(value: int) -> int:
    """``value`` modulo 2^64, as the signed number that int64 arithmetic holds."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _splitmix64(z: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014), on int64 whose products wrap."""
    z = z + _signed(0x9E3779B97F4A7C15)
    z ^= (z >> 30).bitwise_and_((1 << 34) - 1)
    z *= _signed(0xBF58476D1CE4E5B9)
    z ^= (z >> 27).bitwise_and_((1 << 37) - 1)
    z *= _signed(0x94D049BB133111EB)
    z ^= (z >> 31).bitwise_and_((1 << 33) - 1)
    return z
