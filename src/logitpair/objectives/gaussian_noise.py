"""Training on noisy images, without any attack."""

from dataclasses import dataclass

from torch import Tensor, nn

from logitpair.objectives.base import Images, Labels, LossTerms, Objective, forward_together
from logitpair.rng import RandomSource, normal_like
from logitpair.validate import at_least


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Objective):
    """Mean cross-entropy on images with Gaussian noise added: what clean logit pairing and logit squeezing are without their penalty.

    Args:
        noise: standard deviation, at least 0, in [0, 1] pixel scale.
        clip: bring the noisy pixels back into [0, 1]; False lets the network see pixels outside it.

    Source: the baseline of arXiv 1803.06373, figure 1, which gives neither the deviation nor whether pixels are clipped; 0.5 is
    that of Mosbach et al. 2018, arXiv 1810.12042.
    """

    noise: float = 0.5
    clip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("noise", self.noise, 0)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        logits = self.noisy_logits(model, x, y, generator)
        total = self.cross_entropy(logits, y).mean()
        return LossTerms(total, {"noisy_loss": total}, {"noisy": logits})

    def noisy_logits(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Tensor:
        """The logits of the images with noise."""
        if self.noise:
            x = x + self.noise * normal_like(x, generator)
            x = x.clamp_(0, 1) if self.clip else x
        return forward_together(model, y, x)[0]
