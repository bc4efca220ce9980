"""Auto-PGD: projected gradient ascent that finds its own step size, example by example."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from inspect import signature

import torch
from jaxtyping import Int
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.active_set import ActiveSet, clearly_misclassified
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, RandomSource, check_loss, gradient_of, nth_other_class
from logitpair.errors import InputError
from logitpair.losses import PerExample
from logitpair.models.inference import compute_logits
from logitpair.threat import AnyThreat
from logitpair.validate import check_labels, fraction, whole


@dataclass(frozen=True)
class APGD(Attack):
    """Gradient ascent with momentum whose step begins at ``2 eps`` and is halved, back at the best point, wherever progress stalls.

    An example leaves the search at the first iterate that the model clearly misclassifies; of one that stays, the iterate nearest to that
    is returned. A model without gradients is no error: they count as zero.

    Args:
        threat: the ball to search.
        steps: gradient steps of each restart, at least 1.
        restarts: independent uniform starts, at least 1; an example broken in one is not searched in the next.
        loss: ``loss(logits, y) -> [batch]``, to be ascended; with ``target_rank``, ``loss(logits, y, target) -> [batch]``.
        target_rank: the target by its rank among the classes other than ``y`` in the clean prediction, 1 the most likely; None: no target.
        early_stop: False searches on to the last step.
        momentum: weight of the new step, the paper's alpha, in [0, 1]; the rest is the previous move's.
        rho: fraction of the steps between two checkpoints that must raise the loss.

    Raises:
        InputError: for a ``target_rank`` that the model has no class for, or a loss that does not take what it is given.

    Source: Croce and Hein 2020, arXiv 2003.01690, section 3 and algorithm 1; ``target_rank`` and losses: section 5. Departs from it in
    asking that a loss rise by more than rounding, so that no result depends on the batch, and in returning what is nearest to
    misclassification, not what has the highest loss, where ``loss`` is another than the margin.
    """

    threat: AnyThreat
    _: KW_ONLY
    steps: int = 100
    restarts: int = 1
    loss: losses.Loss = losses.misclassification_margin
    target_rank: int | None = None
    early_stop: bool = True
    momentum: float = 0.75
    rho: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)
        whole("steps", self.steps, 1)
        whole("restarts", self.restarts, 1)
        fraction("momentum", self.momentum)
        fraction("rho", self.rho)
        given = ["logits", "y"] if self.target_rank is None else ["logits", "y", "target"]
        if self.target_rank is not None:
            whole("target_rank", self.target_rank, 1)
        try:
            signature(self.loss).bind(*given)
        except TypeError as error:
            raise InputError(f"loss: must take ({', '.join(given)}) where target_rank is {self.target_rank}; {error}") from error

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        classes = y[:, None]
        if self.target_rank is not None:
            with torch.no_grad():
                clean = compute_logits(model, x)
            classes = torch.stack([y, nth_other_class(clean, y, self.target_rank)], 1)
        active = ActiveSet(x, y, forwards=classes.shape[1] - 1)
        for _ in active.restarts(self.restarts):
            start, rows = self.threat.random_start(x, generator), active.rows  # noise is drawn for all examples, active or not
            self.ascend(model, APGDState(rows, x[rows], classes[rows], start[rows], 2 * self.threat.eps), active)
        return active.best

    def ascend(self, model: nn.Module, at: APGDState, active: ActiveSet) -> None:
        """One restart; every iterate is offered to ``active``, in which with ``early_stop`` only the examples still correct stay."""
        due, last = checkpoints(self.steps), 0
        for step in range(self.steps + 1):
            takes_step = step < self.steps  # the last iterate is only looked at
            x_adv = at.x_adv.detach().requires_grad_(takes_step)
            logits = compute_logits(model, x_adv)
            if step == 0:
                check_labels(at.classes[:, 0], logits.shape[1])
            (active.best.gradients if takes_step else active.best.forwards)[at.rows] += 1
            active.offer(at.rows, at.x_adv, logits.detach(), torch.full_like(at.rows, step), losses.clearly_above)
            going = slice(None)
            if self.early_stop and (broken := clearly_misclassified(logits.detach(), at.classes[:, 0])).any():
                going = torch.nonzero(~broken).squeeze(1)
                at.keep(going)
            if not takes_step or not len(at.rows):
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
        active.rows = at.rows


class APGDState:
    """The active examples of a restart, before its first step: one a row of each tensor."""

    def __init__(self, rows: Labels, x: Images, classes: Int[Tensor, "batch classes"], start: Images, step_size: float) -> None:
        self.rows, self.x = rows, x  # of the examples in the batch; the image that the ball is around
        self.classes = classes  # the true class, then the target if there is one
        self.x_adv = self.before = self.x_max = start  # now, one step ago, and where the loss was highest
        self.direction = self.direction_max = torch.zeros_like(x)  # of ascent from x_adv and from x_max
        self.loss_max = torch.full_like(x[:, 0, 0, 0], -torch.inf)  # at x_max
        self.loss = self.loss_max_then = torch.full_like(self.loss_max, torch.nan)  # at x_adv; loss_max at the last checkpoint
        self.step_size = torch.full_like(x[:, :1, :1, :1], step_size)
        self.rises = torch.zeros_like(rows)  # steps since the last checkpoint that raised the loss
        self.halved = self.rises.bool()  # whether the last checkpoint halved the step size

    def keep(self, going: Int[Tensor, " going"]) -> None:
        """Go on with some of the examples."""
        for name, tensor in vars(self).items():
            setattr(self, name, tensor[going])

    def arrive(self, loss: PerExample, direction: Images) -> None:
        """Take in the loss at ``x_adv`` and the direction of its ascent."""
        self.rises = self.rises + losses.clearly_above(loss, self.loss)
        self.loss, self.direction = loss, direction
        higher = losses.clearly_above(loss, self.loss_max)
        self.loss_max = torch.where(higher, loss, self.loss_max)
        wide = higher[:, None, None, None]
        self.x_max = torch.where(wide, self.x_adv, self.x_max)
        self.direction_max = torch.where(wide, direction, self.direction_max)

    def halve_where_stalled(self, least: float) -> None:
        """A checkpoint: where progress has stalled, halve the step size and go back to ``x_max``.

        It has where fewer than ``least`` steps raised the loss, or where ``loss_max`` and the step size are those of the last checkpoint.
        """
        stalled = (self.rises < least) | (~self.halved & (self.loss_max == self.loss_max_then))
        wide = stalled[:, None, None, None]
        self.step_size = torch.where(wide, self.step_size / 2, self.step_size)
        self.x_adv = torch.where(wide, self.x_max, self.x_adv)
        self.direction = torch.where(wide, self.direction_max, self.direction)
        self.loss = torch.where(stalled, self.loss_max, self.loss)
        self.loss_max_then, self.halved, self.rises = self.loss_max, stalled, torch.zeros_like(self.rises)


def checkpoints(steps: int) -> set[int]:
    """After which steps progress is judged: the paper's w_j, the fraction p_j of all steps rounded up."""
    due, hundredths, gap = {0}, 22, 22  # p_j in hundredths, so that no float rounds a whole number up
    while hundredths <= 100:
        due.add(-(-hundredths * steps // 100))
        gap = max(gap - 3, 6)
        hundredths += gap
    return due
