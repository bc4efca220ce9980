"""The target class of a targeted attack; never the true one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from logitpair.losses import Labels, Logits
from logitpair.rng import RandomSource, uniform_like


class Target(ABC):
    """Chooses the target class of each example."""

    @abstractmethod
    def choose(self, logits: Logits, y: Labels, generator: RandomSource | None) -> Labels:
        """Target classes ``[batch]``, none equal to the true labels ``y``, from the model's logits on the clean images."""


@dataclass(frozen=True)
class LeastLikely(Target):
    """The class the model finds least likely on the clean image, the true one left out ("LL").

    Source: Kurakin et al. 2017, arXiv 1611.01236, section 2.2. Departs from it in leaving the true class out.
    """

    def choose(self, logits: Logits, y: Labels, generator: RandomSource | None) -> Labels:
        return logits.scatter(1, y[:, None], torch.inf).argmin(1)


@dataclass(frozen=True)
class RandomTarget(Target):
    """A class drawn uniformly from all but the true one ("Rand")."""

    def choose(self, logits: Logits, y: Labels, generator: RandomSource | None) -> Labels:
        others = logits.shape[1] - 1
        draw = (uniform_like(logits[:, :1].float(), generator).squeeze(1) * others).long()  # below others, since the numbers are below 1
        return draw + (draw >= y)
