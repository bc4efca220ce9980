"""Auto-PGD: projected gradient ascent that finds its own step size, example by example."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields, replace
from inspect import signature
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, gradient_of, nth_other_class
from logitpair.attacks.pgd import clearly_misclassified
from logitpair.errors import InputError
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource
from logitpair.threat import Linf
from logitpair.validate import check_labels, whole

PerExample = Float[Tensor, " batch"]


@dataclass(frozen=True)
class APGD(Attack):
    """Gradient ascent with momentum whose step begins at ``2 eps`` and is halved, back at the best point, wherever progress stalls.

    An example leaves the search at the first iterate that the model clearly misclassifies, and the others go on without it. Of one that
    stays, the iterate nearest to misclassification is returned. A model without gradients is no error: they count as zero.

    Args:
        threat: the ball to search.
        steps: gradient steps of each restart.
        restarts: independent uniform starts; an example broken in one is not searched in the next.
        loss: ``loss(logits, y) -> [batch]``, to be ascended; with ``target_rank``, ``loss(logits, y, target) -> [batch]``.
        target_rank: aim at this class, the most likely one other than ``y`` by the clean prediction being 1; None aims at none.
        early_stop: False searches on to the last step.
        momentum: weight of the new step, the paper's alpha; the rest is the previous move's.
        rho: fraction of the steps between two checkpoints that must raise the loss.

    Raises:
        InputError: for ``steps``, ``restarts`` or ``target_rank`` below 1, a ``target_rank`` that the model has no class for,
            ``momentum`` or ``rho`` outside [0, 1], or a loss that does not take what it is given.

    Source: Croce and Hein 2020, arXiv 2003.01690, section 3 and algorithm 1; ``target_rank`` and losses: section 5. Departs from it in
    asking that a loss rise by more than rounding, so that no result depends on the batch, and in returning what is nearest to
    misclassification, not what has the highest loss, where ``loss`` is another than the margin.
    """

    threat: Linf
    _: KW_ONLY
    steps: int = 100
    restarts: int = 1
    loss: losses.Loss = losses.margin
    target_rank: int | None = None
    early_stop: bool = True
    momentum: float = 0.75
    rho: float = 0.75

    def __post_init__(self) -> None:
        whole("steps", self.steps, 1)
        whole("restarts", self.restarts, 1)
        for name, value in (("momentum", self.momentum), ("rho", self.rho)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} must lie in [0, 1], not {value}")
        given = ["logits", "y"] if self.target_rank is None else ["logits", "y", "target"]
        if self.target_rank is not None:
            whole("target_rank", self.target_rank, 1)
        try:
            signature(self.loss).bind(*given)
        except TypeError as error:
            raise InputError(f"loss: must take ({', '.join(given)}) where target_rank is {self.target_rank}; {error}") from error

    def scaled(self, factor: float) -> Self:
        return replace(self, threat=self.threat.scaled(factor))

    def without_early_stop(self) -> Self:
        return replace(self, early_stop=False)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        classes = y[:, None]
        if self.target_rank is not None:
            with torch.no_grad():
                clean = compute_logits(model, x)
            classes = torch.stack([y, nth_other_class(clean, y, self.target_rank)], 1)
        best = Best.of(x, forwards=classes.shape[1] - 1)
        standing = torch.arange(len(x), device=x.device)
        for restart in range(self.restarts):
            start = self.threat.random_start(x, generator)[standing]  # drawn for all, so that nobody's noise depends on who is left
            climbers = APGDState.begin(standing, x[standing], classes[standing], start, 2 * self.threat.eps)
            standing = self.climb(model, climbers, best, restart)
            if not len(standing):
                break
        return best.found

    def climb(self, model: nn.Module, at: APGDState, best: Best, restart: int) -> Labels:
        """One restart: the examples that stand at its end; what was found and spent goes to ``best``."""
        due, last = checkpoints(self.steps), 0
        for step in range(self.steps + 1):
            x_adv = at.x_adv.detach().requires_grad_(step < self.steps)  # the last iterate is only looked at
            logits = compute_logits(model, x_adv)
            if step == 0:
                check_labels(at.classes[:, 0], logits.shape[1])
            best.offer(at, logits.detach(), restart, step, backward=step < self.steps)
            going = slice(None)
            if self.early_stop and (fooled := clearly_misclassified(logits.detach(), at.classes[:, 0])).any():
                going = torch.nonzero(~fooled).squeeze(1)
                at = at.only(going)
            if step == self.steps or not len(at.rows):
                break
            loss = losses.per_example(self.loss, logits[going], *at.classes.unbind(1))
            at.arrive(loss.detach(), self.threat.ascent(gradient_of(loss.sum(), x_adv)[going]))
            if step in due:
                at.halve_where_stalled(self.rho * (step - last))
                last = step
            ahead = self.threat.project(at.x_adv + at.step_size * at.direction, at.x)
            if step > 0:
                inertia = (1 - self.momentum) * (at.x_adv - at.before)
                ahead = self.threat.project(at.x_adv + self.momentum * (ahead - at.x_adv) + inertia, at.x)
            at.before, at.x_adv = at.x_adv, ahead
        return at.rows


@dataclass
class APGDState:
    """The examples still searched, one a row of each field.

    Args:
        rows: where they stand in the batch.
        x: the images that the ball is around.
        classes: the true class, then the target if there is one.
        x_adv: where they are.
        before: where they were a step ago.
        x_max: where the loss was highest.
        direction: of ascent from ``x_adv``.
        direction_max: of ascent from ``x_max``.
        loss: at ``x_adv``; NaN before the first.
        loss_max: at ``x_max``.
        loss_max_then: ``loss_max`` at the last checkpoint; NaN before the first.
        step_size: ``[batch, 1, 1, 1]``.
        rises: steps since the last checkpoint that raised the loss.
        halved: whether the last checkpoint halved the step.
    """

    rows: Labels
    x: Images
    classes: Int[Tensor, "batch classes"]
    x_adv: Images
    before: Images
    x_max: Images
    direction: Images
    direction_max: Images
    loss: PerExample
    loss_max: PerExample
    loss_max_then: PerExample
    step_size: Float[Tensor, "batch 1 1 1"]
    rises: Labels
    halved: Bool[Tensor, " batch"]

    @classmethod
    def begin(cls, rows: Labels, x: Images, classes: Int[Tensor, "batch classes"], start: Images, step_size: float) -> APGDState:
        unknown, nowhere = torch.full_like(x[:, 0, 0, 0], torch.nan), torch.zeros_like(x)
        steps = torch.full_like(x[:, :1, :1, :1], step_size)
        none = torch.zeros_like(rows)
        lowest = torch.full_like(unknown, -torch.inf)
        return cls(rows, x, classes, start, start, start, nowhere, nowhere, unknown, lowest, unknown, steps, none, none.bool())

    def only(self, going: Int[Tensor, " going"]) -> APGDState:
        """The examples that go on, without the others."""
        return APGDState(*(getattr(self, field.name)[going] for field in fields(self)))

    def arrive(self, loss: PerExample, direction: Images) -> None:
        """Take in what the model says of ``x_adv``."""
        self.rises = self.rises + losses.clearly_above(loss, self.loss)
        self.loss, self.direction = loss, direction
        higher = losses.clearly_above(loss, self.loss_max)
        self.loss_max = torch.where(higher, loss, self.loss_max)
        wide = higher[:, None, None, None]
        self.x_max = torch.where(wide, self.x_adv, self.x_max)
        self.direction_max = torch.where(wide, direction, self.direction_max)

    def halve_where_stalled(self, least: float) -> None:
        """A checkpoint: halve the step and go back to ``x_max`` where progress has stalled.

        That is where fewer than ``least`` steps rose, or where nothing better was found with a step that was not halved last time.
        """
        stalled = (self.rises < least) | (~self.halved & (self.loss_max == self.loss_max_then))
        wide = stalled[:, None, None, None]
        self.step_size = torch.where(wide, self.step_size / 2, self.step_size)
        self.x_adv = torch.where(wide, self.x_max, self.x_adv)
        self.direction = torch.where(wide, self.direction_max, self.direction)
        self.loss = torch.where(stalled, self.loss_max, self.loss)
        self.loss_max_then, self.halved, self.rises = self.loss_max, stalled, torch.zeros_like(self.rises)


@dataclass(frozen=True)
class Best:
    """Of each example the iterate nearest to misclassification, its margin, and what has been spent."""

    found: AttackResult
    score: PerExample

    @classmethod
    def of(cls, x: Images, forwards: int) -> Best:
        """Before the first iterate."""
        zero = torch.zeros(len(x), dtype=torch.long, device=x.device)
        found = AttackResult(x.clone(), restart=zero, step=zero.clone(), gradients=zero.clone(), forwards=zero + forwards)
        return cls(found, torch.full_like(x[:, 0, 0, 0], -torch.inf))

    def offer(self, at: APGDState, logits: Tensor, restart: int, step: int, *, backward: bool) -> None:
        """Keep the iterates that are better than all before them."""
        (self.found.gradients if backward else self.found.forwards)[at.rows] += 1
        score = losses.margin(logits, at.classes[:, 0]).nan_to_num(nan=torch.finfo(logits.dtype).max)  # no number is no answer either
        better = losses.clearly_above(score, self.score[at.rows])
        rows = at.rows[better]
        self.found.x_adv[rows], self.score[rows] = at.x_adv[better], score[better]
        self.found.restart[rows], self.found.step[rows] = restart, step


def checkpoints(steps: int) -> set[int]:
    """After which steps progress is judged: the paper's w_j, the share p_j of all steps rounded up."""
    due, hundredths, gap = {0}, 22, 22  # p_j in hundredths, so that no float rounds a whole number up
    while hundredths <= 100:
        due.add(-(-hundredths * steps // 100))
        gap = max(gap - 3, 6)
        hundredths += gap
    return due
