"""Projected gradient descent and its relatives: one loop."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.base import Attack, Found, Images, Labels, logits_of
from logitpair.attacks.starts import SignStart
from logitpair.attacks.targets import Target
from logitpair.random import Generator
from logitpair.threat import Linf
from logitpair.validate import check_labels, positive, whole


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent: steps along the gradient's sign from a random point of the ball (arXiv 1706.06083, section 2.1).

    An example leaves the search at the first iterate that the model clearly misclassifies, and the others go on without it; the last
    iterate counts too. Success is misclassification, whatever the loss. This is stricter than scoring the last iterate alone.

    Args:
        threat: the ball to search.
        step_size: length of a step, in the pixels' unit.
        steps: gradient steps of each restart.
        random_start: begin at a uniform point of the ball (True: PGD), at the image itself (False: BIM) or as a ``SignStart`` does.
        restarts: independent starts; an example broken in one is not searched in the next.
        target: aim at this class and descend its loss; None ascends the loss of the true class.
        loss: ``loss(logits, classes) -> [batch]``.
        stop_when_broken: False searches on to the last step, as training and transfer need (see ``exhaustive``).

    Raises:
        InputError: for ``step_size`` not above 0, or ``steps`` or ``restarts`` below 1.
    """

    threat: Linf
    _: KW_ONLY
    step_size: float
    steps: int
    random_start: bool | SignStart = True
    restarts: int = 1
    target: Target | None = None
    loss: losses.Loss = losses.cross_entropy
    stop_when_broken: bool = True

    def __post_init__(self) -> None:
        positive("step_size", self.step_size)
        whole("steps", self.steps, 1)
        whole("restarts", self.restarts, 1)

    def scaled(self, factor: float) -> Self:
        return replace(self, threat=self.threat.scaled(factor), step_size=self.step_size * factor)

    def exhaustive(self) -> Self:
        return replace(self, stop_when_broken=False)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: Generator | None) -> Found:
        tally = Tally.of(x)
        aim = y
        if self.target is not None:
            with torch.no_grad():
                clean = logits_of(model, x)
            tally.forwards += 1
            check_labels(y, clean.shape[1])
            aim = self.target.choose(clean, y, generator)
        if self.restarts == 1 and not self.stop_when_broken:
            return tally.found(self.climb(model, x, y, aim, self.start(x, generator), tally))

        best, best_score = x.clone(), torch.full_like(x[:, 0, 0, 0], -torch.inf)
        standing = torch.arange(len(x), device=x.device)
        for restart in range(self.restarts):
            start = self.start(x, generator)[standing]  # drawn for all, so that nobody's noise depends on who is left
            tally.begin(restart, standing)
            x_adv = self.climb(model, x[standing], y[standing], aim[standing], start, tally)
            with torch.no_grad():
                score = losses.margin(logits_of(model, x_adv), y[standing])  # above 0 exactly when misclassified
            tally.scored(standing, score > 0, self.steps)
            better = score > best_score[standing]
            best[standing[better]], best_score[standing[better]] = x_adv[better], score[better]
            standing = torch.nonzero(best_score <= 0).squeeze(1) if self.stop_when_broken else standing
            if not len(standing):
                break
        return tally.found(best)

    def start(self, x: Images, generator: Generator | None) -> Images:
        if isinstance(self.random_start, SignStart):
            return self.random_start.draw(self.threat, x, generator)
        return self.threat.random_start(x, generator) if self.random_start else x

    def climb(self, model: nn.Module, x: Images, y: Labels, aim: Tensor, x_adv: Images, tally: Tally | None = None) -> Images:
        """One restart from ``x_adv``: the iterate that each example stopped at. ``aim`` ``[batch, ...]`` is what ``loss`` compares with."""
        tally = tally or Tally.of(x)
        end = x_adv.clone()
        rows = torch.arange(len(x), device=x.device)  # where the examples still searched stand in ``end``
        for step in range(self.steps):
            x_adv = x_adv.detach().requires_grad_()
            logits = logits_of(model, x_adv)
            if step == 0:
                check_labels(y, logits.shape[1])
            going = slice(None)
            fooled = clearly_misclassified(logits.detach(), y)
            tally.stepped(rows, fooled, step)
            if self.stop_when_broken and fooled.any():
                end[rows[fooled]] = x_adv.detach()[fooled]
                going = torch.nonzero(~fooled).squeeze(1)
                if not len(going):
                    return end
            loss = self.loss(logits[going], aim[going]).sum()
            (gradient,) = torch.autograd.grad(loss if self.target is None else -loss, x_adv)
            x, y, aim, rows = x[going], y[going], aim[going], rows[going]
            ahead = x_adv.detach()[going] + self.step_size * self.threat.ascent(gradient[going])
            x_adv = self.threat.project(ahead, x)
        end[rows] = x_adv
        return end


@dataclass
class Tally:
    """When each example was first misclassified, and what has been spent on it; ``rows`` count within the restart's own examples."""

    restart: Tensor
    step: Tensor
    gradients: Tensor
    forwards: Tensor
    searched: Tensor
    current: int = 0

    @classmethod
    def of(cls, x: Images) -> Tally:
        """Nothing found yet, and nothing spent."""
        never = torch.full((len(x),), -1, device=x.device)
        spent = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return cls(never, never.clone(), spent, spent.clone(), torch.arange(len(x), device=x.device))

    def begin(self, restart: int, searched: Tensor) -> None:
        """Another restart, of the examples ``searched``."""
        self.current, self.searched = restart, searched

    def stepped(self, rows: Tensor, fooled: Tensor, step: int) -> None:
        """A gradient was computed for these rows, and the model found ``fooled`` there, after ``step`` steps."""
        self.gradients[self.searched[rows]] += 1
        self._broken(self.searched[rows][fooled], step)

    def scored(self, searched: Tensor, fooled: Tensor, steps: int) -> None:
        """The last iterate was looked at."""
        self.forwards[searched] += 1
        self._broken(searched[fooled], steps)

    def _broken(self, examples: Tensor, step: int) -> None:
        new = examples[self.restart[examples] < 0]
        self.restart[new], self.step[new] = self.current, step

    def found(self, x_adv: Images) -> Found:
        """With the images that the search ended at."""
        return Found(x_adv, self.restart, self.step, self.gradients, self.forwards)


def fgsm(threat: Linf, *, target: Target | None = None) -> PGD:
    """The fast gradient sign method: one step of size ``eps`` from the image; with a target, "Step" of the paper's suite.

    Args:
        threat: the ball; its ``eps`` is the step.
        target: descend this class's loss; None ascends the loss of the true class.

    Raises:
        InputError: for ``eps`` 0.

    Source: Goodfellow et al. 2015, arXiv 1412.6572, section 4; targeted: Kurakin et al. 2017, arXiv 1611.01236, section 2.2.
    """
    positive("eps", threat.eps)
    return PGD(threat, step_size=threat.eps, steps=1, random_start=False, target=target)


def r_step(threat: Linf, *, target: Target | None = None) -> PGD:
    """A random signed step of ``alpha = eps/2``, then one gradient step of ``eps - alpha``: "R+Step" of the paper's suite.

    Args:
        threat: the ball; its ``eps`` is the two steps together.
        target: descend this class's loss; None ascends the loss of the true class.

    Raises:
        InputError: for ``eps`` 0.

    Source: Tramer et al. 2018, arXiv 1705.07204 (RAND+FGSM).
    """
    positive("eps", threat.eps)
    return PGD(threat, step_size=threat.eps / 2, steps=1, random_start=SignStart(), target=target)


def bim(threat: Linf, *, step_size: float, steps: int, target: Target | None = None) -> PGD:
    """The basic iterative method: steps from the image itself, without noise; with a target, "Iter" of the paper's suite.

    Args:
        threat: the ball.
        step_size: length of a step, in the pixels' unit.
        steps: gradient steps.
        target: descend this class's loss; None ascends the loss of the true class.

    Raises:
        InputError: for ``step_size`` not above 0, or ``steps`` below 1.

    Source: Kurakin et al. 2017, arXiv 1607.02533, section 2.
    """
    return PGD(threat, step_size=step_size, steps=steps, random_start=False, target=target)


def clearly_misclassified(logits: Tensor, y: Labels) -> Tensor:
    """Whether another class leads by more than rounding, ``[batch]``: who leaves the search here is still broken when verified."""
    return losses.margin(logits, y) > 100 * torch.finfo(logits.dtype).eps * logits.abs().amax(1)
