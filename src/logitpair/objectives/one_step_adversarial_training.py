"""One-step adversarial training, as first done on ImageNet."""

from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Self

import torch
from torch import nn

from logitpair.attacks import PGD, LeastLikely
from logitpair.attacks.targets import Target
from logitpair.objectives.base import Images, Labels, LossTerms, Objective, forward_together
from logitpair.objectives.warmup import grown, ramp
from logitpair.rng import ExampleStreams, RandomSource, uniform_like
from logitpair.runtime.distributed import unwrap_model
from logitpair.threat import AnyThreat
from logitpair.validate import at_least, fraction, positive


@dataclass(frozen=True)
class OneStepAdversarialTraining(Objective):
    """Cross-entropy on minibatches in which some images are replaced by one-step adversarial examples of varying size.

    The first ``adversarial_share`` of the (shuffled) batch takes one step of steepest ascent towards ``target``, computed with the model in
    eval mode. The total is ``(sum of clean losses + weight * sum of adversarial losses) / (clean + weight * adversarial)`` with the
    numbers of either in the denominator. Under data-parallel training each process replaces the first of its own images of the batch.

    Args:
        threat: the ball whose radius, above 0, is the longest step.
        target: the class stepped towards; the least likely one is "Step-LL".
        weight: of an adversarial example relative to a clean one, above 0.
        adversarial_share: fraction of the batch that is replaced, above 0 and at most 1; at least one image is.
        vary_eps: draw each image's step length from the normal distribution of deviation ``eps`` / 2, truncated to [0, eps], against
            overfitting to one length; False steps by ``eps``.
        warmup: epochs over which ``eps`` grows linearly to its full size; 0 starts at full size.

    Source: Kurakin et al. 2017, arXiv 1611.01236, section 3 and algorithm 1 (weight 0.3, half of the batch). The warm-up is not in it.
    """

    threat: AnyThreat
    _: KW_ONLY
    target: Target | None = field(default_factory=LeastLikely)
    weight: float = 0.3
    adversarial_share: float = 0.5
    vary_eps: bool = True
    warmup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("threat.eps", self.threat.eps)
        positive("weight", self.weight)
        at_least("warmup", self.warmup, 0)
        fraction("adversarial_share", self.adversarial_share, zero=False)

    @property
    def attack(self) -> PGD:
        """The step at its full length."""
        return PGD(self.threat, step_size=self.threat.eps, steps=1, random_start=False, target=self.target, early_stop=False)

    def at(self, epoch: float) -> Self:
        return replace(self, threat=grown(self.attack, ramp(epoch, self.warmup)).threat)

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> LossTerms:
        replaced = max(1, round(self.adversarial_share * len(x)))
        generator = generator.first(replaced) if isinstance(generator, ExampleStreams) else generator
        x_adv = self.search(unwrap_model(model), x[:replaced], y[:replaced], generator)
        (logits,) = forward_together(model, y, torch.cat([x_adv, x[replaced:]]))
        adversarial, clean = self.cross_entropy(logits, y).tensor_split([replaced])
        total = (clean.sum() + self.weight * adversarial.sum()) / (len(clean) + self.weight * replaced)
        terms = {"replaced_loss": adversarial.mean(), "kept_loss": clean.sum() / max(1, len(clean))}
        return LossTerms(total, terms, {"mixed": logits})

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Images:
        """One step from each image, of a length of its own."""
        x_adv = self.attack.find_unchecked(model, x, y, generator).x_adv
        if not self.vary_eps:
            return x_adv
        half = torch.special.ndtr(x.new_tensor(2.0)) - 0.5  # of the normal distribution of deviation 1/2, all of it that lies in [0, 1]
        length = self.threat.eps * (torch.special.ndtri(0.5 + half * uniform_like(x[:, :1, :1, :1], generator)) / 2)
        return self.threat.project(x + length * self.threat.ascent(x_adv - x), x)
