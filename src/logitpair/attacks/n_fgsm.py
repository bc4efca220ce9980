"""One gradient step from far out: N-FGSM, for training in two passes a batch."""

from dataclasses import KW_ONLY, dataclass

from torch import nn

from logitpair import losses
from logitpair.attacks.base import Attack, Images, Labels, RandomSource, gradient_of
from logitpair.models.inference import compute_logits
from logitpair.threat import AnyThreat
from logitpair.validate import check_labels, fraction


@dataclass(frozen=True)
class NFGSM(Attack):
    """Uniform noise, then one step along the gradient's sign, which is not brought back into the ball that is trained for.

    That ball is a third of ``threat``: the noise reaches two of its radii and the step one more, so that training against eps 8/255
    takes ``NFGSM(Linf(24/255))``. As an attack it is weak; what it trains must be attacked by others.

    Args:
        threat: all that noise and step reach together, 3 eps.
        noise: the part of that radius which is noise, in [0, 1); the step takes the rest.

    Source: de Jorge et al. 2022, arXiv 2202.01181, with k = 2 and alpha = eps; noise and step are clipped to the box, as in its released
    code. Departs from that in taking the gradient with the model in eval mode.
    """

    threat: AnyThreat
    _: KW_ONLY
    noise: float = 2 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("noise", self.noise, one=False)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Images:
        start = self.threat.scaled(self.noise).random_start(x, generator).requires_grad_()
        logits = compute_logits(model, start)
        check_labels(y, logits.shape[1])
        gradient = gradient_of(losses.cross_entropy(logits, y).sum(), start)
        return start.detach() + (1 - self.noise) * self.threat.eps * self.threat.ascent(gradient)
