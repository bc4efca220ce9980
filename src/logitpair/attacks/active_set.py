"""Which examples of a batch an attack still searches, and the best image of each: what all attacks by gradient steps share."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.base import AttackResult, Images, Labels
from logitpair.models.inference import compute_logits


class ActiveSet:
    """The ``rows`` of the batch that a search goes on with from restart to restart, and the ``best`` image of every example so far.

    That is the image nearest to misclassification. It begins with all examples, and ``forwards`` forward passes spent on each.
    """

    def __init__(self, x: Images, y: Labels, forwards: int) -> None:
        zero = torch.zeros_like(y)
        self.y, self.rows, self.restart = y, torch.arange(len(x), device=x.device), 0
        self.best = AttackResult(x.clone(), restart=zero, step=zero.clone(), gradients=zero.clone(), forwards=zero + forwards)
        self.margin = torch.full_like(x[:, 0, 0, 0], -torch.inf)  # of best

    def restarts(self, number: int) -> Iterator[int]:
        """0, 1, ... as long as any example is active."""
        for self.restart in range(number):
            yield self.restart
            if not len(self.rows):
                return

    def offer(
        self, rows: Labels, x_adv: Images, logits: Tensor, step: Labels, is_higher: Callable[[Tensor, Tensor], Tensor] = torch.gt
    ) -> None:
        """Keep those of these rows' images that are nearer to misclassification than all before; non-finite logits count as that.

        Nothing is selected by a mask, for whose length the host would wait.
        """
        margin = nearness(logits, self.y[rows])
        higher = is_higher(margin, self.margin[rows])
        best, restart = self.best, torch.full_like(step, self.restart)
        for kept, offered in ((best.x_adv, x_adv), (best.restart, restart), (best.step, step), (self.margin, margin)):
            kept[rows] = torch.where(higher.view(-1, *[1] * (kept.ndim - 1)), offered, kept[rows])

    def end_restart(self, model: nn.Module, x_adv: Images, taken: Labels, *, steps: int, early_stop: bool) -> None:
        """Score the last iterates of the active examples, after ``taken`` of ``steps``; with ``early_stop`` the correct stay active."""
        with torch.no_grad():
            logits = compute_logits(model, x_adv)
        self.offer(self.rows, x_adv, logits, taken)
        self.best.gradients[self.rows] += (taken + 1).clamp_(max=steps)  # one that left early has cost one gradient more than steps
        self.best.forwards[self.rows] += 1
        if early_stop:
            self.rows = self.rows[~clearly_misclassified(logits, self.y[self.rows])]


def nearness(logits: losses.Logits, y: Labels) -> Tensor:
    """The misclassification margin, ``[batch]``; the highest there is where logits are not finite, which count as misclassified."""
    return losses.misclassification_margin(logits, y).nan_to_num(nan=torch.finfo(logits.dtype).max)


class Ascent:
    """One restart of ``steps``, in which with ``early_stop`` each example leaves at its first clearly misclassified iterate.

    ``x``, ``y`` and ``x_adv`` are the images, true labels and iterates of the examples still active.
    """

    def __init__(self, x: Images, y: Labels, x_adv: Images, *, steps: int, early_stop: bool) -> None:
        self.x, self.y, self.x_adv, self.early_stop = x, y, x_adv, early_stop
        self.rows = torch.arange(len(x), device=x.device)  # of the examples still active
        self.end, self.taken = x_adv.clone(), torch.full((len(x),), steps, device=x.device)

    def drop_misclassified(self, logits: Tensor, step: int) -> Tensor | slice:
        """Stop the examples that these logits of ``x_adv`` misclassify, and return which of the rows go on."""
        if not self.early_stop or not (broken := clearly_misclassified(logits.detach(), self.y)).any():
            return slice(None)
        stopped, active = self.rows[broken], torch.nonzero(~broken).squeeze(1)
        self.end[stopped], self.taken[stopped] = self.x_adv[broken], step
        self.x, self.y, self.x_adv, self.rows = self.x[active], self.y[active], self.x_adv[active], self.rows[active]
        return active

    def result(self) -> tuple[Images, Labels]:
        """The iterate that each example stopped at, and after how many steps."""
        self.end[self.rows] = self.x_adv
        return self.end, self.taken


def clearly_misclassified(logits: Tensor, y: Labels) -> Tensor:
    """Whether another class leads by more than rounding, so that a fresh forward misclassifies too; non-finite logits count as that."""
    leads = losses.misclassification_margin(logits, y) > 100 * torch.finfo(logits.dtype).eps * logits.abs().amax(1)
    return leads | ~torch.isfinite(logits).all(1)
