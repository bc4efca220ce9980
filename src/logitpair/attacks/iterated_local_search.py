"""Iterated local search: ascend, replace a part of the best image by noise, ascend again. The most expensive search, and the last."""

from dataclasses import KW_ONLY, dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.active_set import clearly_misclassified, nearness
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, gradient_of, nth_other_class
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource, uniform_like
from logitpair.threat import AnyThreat, signs
from logitpair.validate import check_labels, whole

TARGETS = 3  # the most likely other classes, which the chains aim at in turn
FIRST_STEP, KICK_STEP = 1.0, 1 / 6  # of eps, the first step of a chain's first ascent and of the others
SELECT_EVERY = 5  # ascents
AT_ONCE = 32  # images that the model sees at once even where fewer are attacked


@dataclass(frozen=True)
class IteratedLocalSearch(Attack):
    """Chains of ascents through the local maxima near the best ones known, where restarts would begin anew far away.

    A chain begins with an ascent from a random corner of the ball. Each kick then replaces the pixels of a random rectangle of the chain's
    best image by those of another random corner, and ``steps`` steps follow, the first of them ``eps / 6`` and the last nearly
    nothing; an iterate whose margin is larger becomes the chain's best image. At every fifth ascent the better half of an image's chains
    takes the place of the worse half.

    Args:
        threat: the ball to search.
        chains: of each image, at least 1; they aim at the three most likely other classes in turn.
        kicks: of each chain.
        steps: gradient steps after a kick, at least 1.
        first_steps: gradient steps of a chain's first ascent, at least 1, the first of them ``eps``.
        early_stop: False searches on to the last kick.

    Source: iterated local search (Lourenco, Martin and Stutzle 2003, doi 10.1007/0-306-48056-5_11). Zhang et al. 2022 ("A Branch and Bound
    Framework for Stronger Adversarial Attacks of ReLU Networks", ICML) search neighbourhoods of the best images that cheap attacks found,
    freeing a part of the activations and solving by branch and bound. Departs from it in freeing a part of the pixels and following the
    gradient, which any network has.
    """

    threat: AnyThreat
    _: KW_ONLY
    chains: int = 6
    kicks: int = 100
    steps: int = 25
    first_steps: int = 100
    early_stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("chains", "steps", "first_steps"):
            whole(name, getattr(self, name), 1)
        whole("kicks", self.kicks, 0)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        at = self.begin(model, x, y)
        self.climb(model, x, at, range(1 + self.kicks), generator)
        return at.result()

    def begin(self, model: nn.Module, x: Images, y: Labels) -> "Chains":
        """The chains of all images, none of which has begun to climb."""
        with torch.no_grad():
            clean = compute_logits(model, x)
        check_labels(y, clean.shape[1])
        return Chains(x, y, clean, self.chains)

    def climb(self, model: nn.Module, x: Images, at: "Chains", ascents: range, generator: RandomSource | None) -> None:
        """These ascents, of which number 0 begins the chains, on every image that is searched."""
        for ascent in ascents:
            if not at.searched.any():
                return
            steps, first = (self.steps, KICK_STEP) if ascent else (self.first_steps, FIRST_STEP)
            starts = torch.cat([self.start(x, best if ascent else None, generator) for best in at.best.split(len(x))])
            active = at.searched[at.image].nonzero().squeeze(1)
            for rows in active.split(max(len(x), AT_ONCE)):
                self.ascend(model, x[at.image[rows]], at, rows, starts[rows], steps, first * self.threat.eps)
            at.gradients += self.chains * steps * at.searched
            at.forwards += self.chains * at.searched
            if self.early_stop:
                at.leave()
            if ascent % SELECT_EVERY == SELECT_EVERY - 1 and at.searched.any():
                at.select()

    def start(self, x: Images, best: Images | None, generator: RandomSource | None) -> Images:
        """A random corner of the ball in a random rectangle of pixels, and ``best`` elsewhere; the whole corner where there is none yet."""
        corner = self.threat.project(x + self.threat.eps * self.threat.ascent(signs(uniform_like(x, generator))), x)
        if best is None:
            return corner
        draw = uniform_like(x.new_empty(len(x), 4), generator)
        rows, columns = between(draw[:, :2], x.shape[2]), between(draw[:, 2:], x.shape[3])
        return self.threat.project(torch.where(rows[:, None, :, None] & columns[:, None, None, :], corner, best), x)

    def ascend(self, model: nn.Module, x: Images, at: "Chains", rows: Labels, x_adv: Images, steps: int, first: float) -> None:
        """Take steps from ``x_adv`` that shrink from ``first`` to nothing, and offer every iterate to these rows' chains."""
        y, target = at.y[at.image[rows]], at.target[rows]
        for step in range(steps + 1):
            x_adv = x_adv.detach().requires_grad_(step < steps)  # the last iterate is only looked at
            logits = compute_logits(model, x_adv)
            at.offer(rows, x_adv.detach(), logits.detach())
            if step < steps:
                direction = self.threat.ascent(gradient_of(losses.targeted_margin(logits, y, target).sum(), x_adv))
                x_adv = self.threat.project(x_adv + first * (1 - step / steps) * direction, x)


class Chains:
    """The chains of all images, one a row: the first chain of each image, then the second of each, and so on; and what each image has cost.

    ``searched`` says which images still are, ``[batch]``.
    """

    def __init__(self, x: Images, y: Labels, clean: losses.Logits, chains: int) -> None:
        self.y, self.chains = y, chains
        self.image = torch.arange(len(x), device=x.device).repeat(chains)
        ranks = min(TARGETS, clean.shape[1] - 1)
        self.target = torch.cat([nth_other_class(clean, y, 1 + chain % ranks) for chain in range(chains)])
        self.best = x.repeat(chains, 1, 1, 1)
        self.margin = torch.full_like(self.best[:, 0, 0, 0], -torch.inf)  # of best
        self.broken = torch.zeros_like(self.image, dtype=torch.bool)  # whether best is clearly misclassified
        self.gradients, self.forwards, self.searched = torch.zeros_like(y), torch.ones_like(y), torch.ones_like(y, dtype=torch.bool)

    def offer(self, rows: Labels, x_adv: Images, logits: losses.Logits) -> None:
        """Keep those of these rows' images whose margin is higher; non-finite logits count as the highest."""
        y = self.y[self.image[rows]]
        margin = nearness(logits, y)
        higher = losses.clearly_above(margin, self.margin[rows])
        kept = rows[higher]
        self.best[kept], self.margin[kept], self.broken[kept] = x_adv[higher], margin[higher], clearly_misclassified(logits, y)[higher]

    def select(self) -> None:
        """Put the better half of each image's chains in the place of the worse half."""
        order = self.margin.view(self.chains, -1).sort(dim=0, descending=True, stable=True).indices
        better = order[torch.arange(self.chains, device=order.device) % ((self.chains + 1) // 2)]
        rows = (better * order.shape[1] + torch.arange(order.shape[1], device=order.device)).flatten()
        self.target, self.best, self.margin, self.broken = self.target[rows], self.best[rows], self.margin[rows], self.broken[rows]

    def leave(self) -> None:
        """No longer search the images that a chain has broken."""
        self.searched[self.image[self.broken]] = False

    def result(self) -> AttackResult:
        """The nearest images, and what they have cost."""
        unknown = torch.full_like(self.y, -1)
        return AttackResult(self.nearest(), restart=unknown, step=unknown, gradients=self.gradients, forwards=self.forwards)

    def nearest(self) -> Images:
        """The image of each example that is nearest to misclassification."""
        return self.best[self.nearest_rows()]

    def nearest_rows(self) -> Labels:
        """Of each image the row of the chain that is nearest to misclassification."""
        chain = self.margin.view(self.chains, -1).argmax(0)
        return chain * len(chain) + torch.arange(len(chain), device=chain.device)


def between(draw: Float[Tensor, "batch 2"], length: int) -> Bool[Tensor, "batch length"]:
    """Which of ``length`` positions lie between two random ones, these included."""
    first, last = (draw * length).long().sort(1).values[:, :, None].unbind(1)
    position = torch.arange(length, device=draw.device)
    return (first <= position) & (position <= last)
