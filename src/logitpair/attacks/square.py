"""Square Attack: random squares, kept where they help. It uses no gradient, so that no misleading gradient can stop it."""

from dataclasses import KW_ONLY, dataclass
from math import sqrt

import torch
from jaxtyping import Int
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.active_set import clearly_misclassified
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, check_loss
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource, uniform_like
from logitpair.threat import AnyThreat, Draw
from logitpair.validate import check_labels, fraction, whole

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries


@dataclass(frozen=True)
class Square(Attack):
    """Random search from a pattern over the whole image: change a square at a random place, keep it if the loss rises.

    In L-infinity the pattern is stripes and the square becomes a random corner of the ball, in L2 a pair of bumps up and down is moved.

    An example leaves the search at the first image that the model clearly misclassifies. Only forward passes are spent.

    Args:
        threat: the ball to search.
        queries: forward passes for each image, at least 1, the first of them on the pattern.
        p: fraction of the image's pixels in the first squares, in (0, 1]; it is halved nine times on the way.
        loss: ``loss(logits, y) -> [batch]``, to be raised.
        early_stop: False searches on to the last query; a misclassified image is then replaced only by another one.

    Source: Andriushchenko et al. 2020, arXiv 1912.00049, algorithms 1 to 3 and section 4, its schedule of ``p`` rescaled to ``queries``.
    Departs from it in asking that the loss rise by more than rounding, so that no result depends on the batch.
    """

    threat: AnyThreat
    _: KW_ONLY
    queries: int = 1000
    p: float = 0.8
    loss: losses.Loss = losses.misclassification_margin
    early_stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)
        whole("queries", self.queries, 1)
        fraction("p", self.p, zero=False)

    @torch.no_grad()
    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        everyone = torch.arange(len(x), device=x.device)
        x_adv = self.threat.pattern(x, self.draws(x, everyone, generator))
        logits = compute_logits(model, x_adv)
        check_labels(y, logits.shape[1])
        loss, broken = losses.per_example(self.loss, logits, y), clearly_misclassified(logits, y)
        forwards = torch.ones_like(y)
        active = everyone
        for query in range(1, self.queries):
            if self.early_stop:
                active = torch.nonzero(~broken).squeeze(1)
            if not len(active):
                break
            candidate = self.threat.patch(x_adv[active], x[active], self.side(query, x), self.draws(x, active, generator))
            logits = compute_logits(model, candidate)
            new_loss, breaks = losses.per_example(self.loss, logits, y[active]), clearly_misclassified(logits, y[active])
            better = torch.where(breaks == broken[active], losses.clearly_above(new_loss, loss[active]), breaks)
            kept = active[better]
            x_adv[kept], loss[kept], broken[kept] = candidate[better], new_loss[better], breaks[better]
            forwards[active] += 1
        unknown = torch.full_like(y, -1)
        return AttackResult(x_adv, restart=unknown, step=unknown, gradients=torch.zeros_like(y), forwards=forwards)

    def draws(self, x: Images, active: Int[Tensor, " active"], generator: RandomSource | None) -> Draw:
        """Uniform numbers for the active examples; they are drawn for all, so that nobody's depend on who is active."""
        return lambda numbers: uniform_like(x.new_empty(len(x), numbers), generator)[active]

    def side(self, query: int, x: Images) -> int:
        """Side of the squares of a query, in pixels: they cover the fraction ``p`` of the image, halved as often as is due."""
        height, width = x.shape[2:]
        p = self.p / 2 ** sum(10_000 * query > after * self.queries for after in HALVED_AFTER)
        return min(max(round(sqrt(p * height * width)), 1), height, width)
