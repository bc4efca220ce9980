"""Clean logit pairing (CLP)."""

from dataclasses import dataclass

from torch import nn

from logitpair import losses
from logitpair.objectives.base import Images, Labels, LossTerms, RandomSource, mean_of
from logitpair.objectives.gaussian_noise import GaussianNoise
from logitpair.objectives.warmup import WeightWarmup


@dataclass(frozen=True, kw_only=True)
class CleanLogitPairing(WeightWarmup, GaussianNoise):
    """Cross-entropy on noisy images plus ``weight`` times the mean pairing penalty between the logits of unrelated images.

    The batch is in random order, so its first half is paired with its second; the last image of an odd batch has no partner. Under
    data-parallel training each process pairs its own images of the batch: these are the pairs of the whole batch where every process
    has an even number of images, and others where not.

    This defense looks robust to weak attacks only: see ``docs/explanation/figure1.md``, and arXiv 1810.12042.

    Args:
        weight: the paper's lambda, at least 0.
        pairing: ``pairing(a, b) -> [batch]`` on logits.

    Source: arXiv 1803.06373, section 3.2; the noise is that of ``GaussianNoise``. The warm-up is not in it.
    """

    weight: float = 0.5
    pairing: losses.Loss = losses.squared_l2_mean

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        logits = self.noisy_logits(model, x, y, generator)
        cross_entropy = self.cross_entropy(logits, y).mean()
        pairs = len(logits) // 2
        pairing = mean_of(self.pairing(logits[:pairs], logits[pairs : 2 * pairs]), x[:pairs]) if pairs else logits.sum() * 0
        total = cross_entropy + self.weight * pairing
        return LossTerms(total, {"noisy_loss": cross_entropy, "pairing": pairing}, {"noisy": logits})
