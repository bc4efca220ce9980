"""Projected gradient descent and its relatives: one loop."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Self

import torch
from jaxtyping import Int
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, gradient_of
from logitpair.attacks.starts import SignStart
from logitpair.attacks.targets import Target
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource
from logitpair.threat import Linf, check_threat
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
        early_stop: False searches on to the last step, as training and transfer need (see ``without_early_stop``).

    Raises:
        InputError: for a ``threat`` that is none, ``step_size`` not above 0, or ``steps`` or ``restarts`` below 1; and, when called, for
            a ``loss`` that gives anything but one number an example.
    """

    threat: Linf
    _: KW_ONLY
    step_size: float
    steps: int
    random_start: bool | SignStart = True
    restarts: int = 1
    target: Target | None = None
    loss: losses.Loss = losses.cross_entropy
    early_stop: bool = True

    def __post_init__(self) -> None:
        check_threat(self.threat)
        positive("step_size", self.step_size)
        whole("steps", self.steps, 1)
        whole("restarts", self.restarts, 1)

    def scaled(self, factor: float) -> Self:
        return replace(self, threat=self.threat.scaled(factor), step_size=self.step_size * factor)

    def without_early_stop(self) -> Self:
        return replace(self, early_stop=False)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        aim, forwards = y, 0
        if self.target is not None:
            with torch.no_grad():
                clean = compute_logits(model, x)
            check_labels(y, clean.shape[1])
            aim, forwards = self.target.choose(clean, y, generator), 1
        if self.restarts == 1 and not self.early_stop:
            x_adv, taken = self.climb(model, x, y, aim, self.start(x, generator))
            return AttackResult(
                x_adv, restart=torch.zeros_like(taken), step=taken, gradients=taken, forwards=torch.full_like(taken, forwards)
            )

        best, best_score = x.clone(), torch.full_like(x[:, 0, 0, 0], -torch.inf)
        standing = torch.arange(len(x), device=x.device)
        in_restart, at_step, gradients = (torch.zeros_like(standing) for _ in range(3))
        scored = torch.full_like(standing, forwards)
        for restart in range(self.restarts):
            start = self.start(x, generator)[standing]  # drawn for all, so that nobody's noise depends on who is left
            x_adv, taken = self.climb(model, x[standing], y[standing], aim[standing], start)
            with torch.no_grad():
                logits = compute_logits(model, x_adv)
            score = losses.margin(logits, y[standing]).nan_to_num(nan=torch.inf)  # above 0 exactly when misclassified
            gradients[standing] += (taken + 1).clamp_(max=self.steps)  # who leaves early does so by looking at one gradient more
            scored[standing] += 1
            better = score > best_score[standing]
            best[standing[better]], best_score[standing[better]] = x_adv[better], score[better]
            in_restart[standing[better]], at_step[standing[better]] = restart, taken[better]
            if self.early_stop:
                standing = standing[~clearly_misclassified(logits, y[standing])]
            if not len(standing):
                break
        return AttackResult(best, restart=in_restart, step=at_step, gradients=gradients, forwards=scored)

    def start(self, x: Images, generator: RandomSource | None) -> Images:
        if isinstance(self.random_start, SignStart):
            return self.random_start.draw(self.threat, x, generator)
        return self.threat.random_start(x, generator) if self.random_start else x

    def climb(self, model: nn.Module, x: Images, y: Labels, aim: Tensor, x_adv: Images) -> tuple[Images, Int[Tensor, " batch"]]:
        """One restart from ``x_adv``: the iterate that each example stopped at, and after how many steps.

        ``aim`` ``[batch, ...]`` is what ``loss`` compares with.
        """
        end, taken = x_adv.clone(), torch.full((len(x),), self.steps, device=x.device)
        rows = torch.arange(len(x), device=x.device)  # where the examples still searched stand in ``end``
        for step in range(self.steps):
            x_adv = x_adv.detach().requires_grad_()
            logits = compute_logits(model, x_adv)
            if step == 0:
                check_labels(y, logits.shape[1])
            going = slice(None)
            if self.early_stop and (fooled := clearly_misclassified(logits.detach(), y)).any():
                end[rows[fooled]], taken[rows[fooled]] = x_adv.detach()[fooled], step
                going = torch.nonzero(~fooled).squeeze(1)
                if not len(going):
                    return end, taken
            loss = losses.per_example(self.loss, logits[going], aim[going]).sum()
            gradient = gradient_of(loss if self.target is None else -loss, x_adv)
            x, y, aim, rows = x[going], y[going], aim[going], rows[going]
            ahead = x_adv.detach()[going] + self.step_size * self.threat.ascent(gradient[going])
            x_adv = self.threat.project(ahead, x)
        end[rows] = x_adv
        return end, taken


def fgsm(threat: Linf, *, target: Target | None = None) -> PGD:
    """The fast gradient sign method: one step of size ``eps`` from the image; with a target, "Step" of the paper's suite.

    Args:
        threat: the ball; its ``eps`` is the step.
        target: descend this class's loss; None ascends the loss of the true class.

    Raises:
        InputError: for ``eps`` 0.

    Source: Goodfellow et al. 2015, arXiv 1412.6572, section 4; targeted: Kurakin et al. 2017, arXiv 1611.01236, section 2.2.
    """
    check_threat(threat)
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
    check_threat(threat)
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
    led = losses.margin(logits, y) > 100 * torch.finfo(logits.dtype).eps * logits.abs().amax(1)
    return led | ~torch.isfinite(logits).all(1)  # what is no number is no answer either
