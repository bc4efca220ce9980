"""Square Attack: random squares, kept where they help. It uses no gradient, so that no misleading gradient can stop it."""

from dataclasses import KW_ONLY, dataclass
from math import sqrt

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.active_set import clearly_misclassified
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, check_loss
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource, uniform_like
from logitpair.threat import Linf
from logitpair.validate import check_labels, fraction, whole

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries


@dataclass(frozen=True)
class Square(Attack):
    """Random search from vertical stripes: paint a square at a random place with a random corner of the ball, keep it if the loss rises.

    An example leaves the search at the first image that the model clearly misclassifies. Only forward passes are spent.

    Args:
        threat: the ball to search.
        queries: forward passes for each image, at least 1, the first of them on the stripes.
        p: fraction of the image's pixels in the first squares, in (0, 1]; it is halved nine times on the way.
        loss: ``loss(logits, y) -> [batch]``, to be raised.
        early_stop: False searches on to the last query; a misclassified image is then replaced only by another one.

    Source: Andriushchenko et al. 2020, arXiv 1912.00049, algorithms 1 and 2 and section 4, its schedule of ``p`` rescaled to ``queries``.
    Departs from it in asking that the loss rise by more than rounding, so that no result depends on the batch.
    """

    threat: Linf
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
        x_adv = self.stripes(x, generator)
        logits = compute_logits(model, x_adv)
        check_labels(y, logits.shape[1])
        loss, broken = losses.per_example(self.loss, logits, y), clearly_misclassified(logits, y)
        forwards = torch.ones_like(y)
        active = torch.arange(len(x), device=x.device)
        for query in range(1, self.queries):
            draw = uniform_like(x.new_empty(len(x), 2 + x.shape[1]), generator)  # for all examples, independent of the active set
            if self.early_stop:
                active = torch.nonzero(~broken).squeeze(1)
            if not len(active):
                break
            candidate = self.threat.project(x_adv[active] + self.squares(draw[active], self.side(query, x), x), x[active])
            logits = compute_logits(model, candidate)
            new_loss, breaks = losses.per_example(self.loss, logits, y[active]), clearly_misclassified(logits, y[active])
            better = torch.where(breaks == broken[active], losses.clearly_above(new_loss, loss[active]), breaks)
            kept = active[better]
            x_adv[kept], loss[kept], broken[kept] = candidate[better], new_loss[better], breaks[better]
            forwards[active] += 1
        unknown = torch.full_like(y, -1)
        return AttackResult(x_adv, restart=unknown, step=unknown, gradients=torch.zeros_like(y), forwards=forwards)

    def stripes(self, x: Images, generator: RandomSource | None) -> Images:
        """Where the search begins: every column of every channel moved by ``eps`` up or down."""
        return self.threat.project(x + self.threat.eps * corners(uniform_like(x[:, :, :1], generator)), x)

    def side(self, query: int, x: Images) -> int:
        """Side of the squares of a query, in pixels: they cover the fraction ``p`` of the image, halved as often as is due."""
        height, width = x.shape[2:]
        p = self.p / 2 ** sum(10_000 * query > after * self.queries for after in HALVED_AFTER)
        return min(max(round(sqrt(p * height * width)), 1), height, width)

    def squares(self, draw: Float[Tensor, "active numbers"], side: int, x: Images) -> Float[Tensor, "active channels height width"]:
        """``2 eps`` up or down, by channel, in a square whose position is drawn for each image; 0 elsewhere."""
        rows, columns = (within(draw[:, i], side, x.shape[2 + i]) for i in (0, 1))
        return 2 * self.threat.eps * corners(draw[:, 2:, None, None]) * rows[:, None, :, None] * columns[:, None, None, :]


def corners(draw: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
    """-1 or 1 for each uniform number, by the toss of a coin."""
    return torch.where(draw < 0.5, -torch.ones_like(draw), torch.ones_like(draw))


def within(draw: Float[Tensor, " batch"], side: int, length: int) -> Bool[Tensor, "batch length"]:
    """Which of ``length`` positions lie in a window of ``side`` that begins anywhere it fits."""
    first = (draw * (length - side + 1)).long()[:, None]  # below length - side + 1, since draw is below 1
    position = torch.arange(length, device=draw.device)
    return (first <= position) & (position < first + side)
