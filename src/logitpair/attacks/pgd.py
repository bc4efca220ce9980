"""Projected gradient descent and its relatives: one loop."""

from dataclasses import KW_ONLY, dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.active_set import ActiveSet, Ascent
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, RandomSource, check_loss, gradient_of
from logitpair.attacks.starts import SignStart
from logitpair.attacks.targets import Target
from logitpair.models.inference import compute_logits
from logitpair.threat import AnyThreat, Threat, check_threat
from logitpair.validate import check_labels, instance, positive, whole


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent: steps of steepest ascent from a random point of the ball (arXiv 1706.06083, section 2.1).

    In L-infinity a step goes along the gradient's sign, in L2 along the gradient.

    An example leaves the search at the first iterate that the model clearly misclassifies, whatever the loss; the last iterate counts
    too. This is stricter than scoring the last iterate alone.

    Args:
        threat: the ball to search.
        step_size: length of a step, above 0, in [0, 1] pixel scale.
        steps: gradient steps of each restart, at least 1.
        random_start: begin at a uniform point of the ball (True: PGD), at the image itself (False: BIM) or as a ``SignStart`` does.
        restarts: independent starts, at least 1; an example broken in one is not searched in the next.
        target: class whose loss is descended; None ascends the loss of the true class.
        loss: ``loss(logits, classes) -> [batch]``; one that gives anything else raises ``InputError`` when the attack is called.
        early_stop: False searches on to the last step, as training and transfer need (see ``without_early_stop``).
    """

    threat: AnyThreat
    _: KW_ONLY
    step_size: float
    steps: int
    random_start: bool | SignStart = True
    restarts: int = 1
    target: Target | None = None
    loss: losses.Loss = losses.cross_entropy
    early_stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("step_size", self.step_size)
        whole("steps", self.steps, 1)
        whole("restarts", self.restarts, 1)
        check_loss(self.loss)
        instance("random_start", self.random_start, bool | SignStart, "True, False or SignStart()")
        instance("target", self.target, Target | None, "None or a target such as LeastLikely() or RandomTarget()")

    def scaled(self, factor: float) -> Self:
        return replace(self, threat=self.threat.scaled(factor), step_size=self.step_size * factor)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        target, forwards = y, 0
        if self.target is not None:
            with torch.no_grad():
                clean = compute_logits(model, x)
            check_labels(y, clean.shape[1])
            target, forwards = self.target.choose(clean, y, generator), 1
        if self.restarts == 1 and not self.early_stop:  # as in training: nothing to choose from, so no forward is spent on a score
            x_adv, taken = self.ascend(model, x, y, target, self.start(x, generator))
            return AttackResult(x_adv, torch.zeros_like(taken), step=taken, gradients=taken, forwards=torch.full_like(taken, forwards))
        active = ActiveSet(x, y, forwards)
        for _ in active.restarts(self.restarts):
            start, rows = self.start(x, generator), active.rows  # noise is drawn for all examples, independent of the active set
            x_adv, taken = self.ascend(model, x[rows], y[rows], target[rows], start[rows])
            active.end_restart(model, x_adv, taken, steps=self.steps, early_stop=self.early_stop)
        return active.best

    def start(self, x: Images, generator: RandomSource | None) -> Images:
        if isinstance(self.random_start, SignStart):
            return self.random_start.draw(self.threat, x, generator)
        return self.threat.random_start(x, generator) if self.random_start else x

    def ascend(self, model: nn.Module, x: Images, y: Labels, target: Tensor, start: Images) -> tuple[Images, Labels]:
        """One restart: the iterate that each example stopped at, and after how many steps; ``loss`` compares the logits with ``target``."""
        at = Ascent(x, y, start, steps=self.steps, early_stop=self.early_stop)
        for step in range(self.steps):
            x_adv = at.x_adv.detach().requires_grad_()
            logits = compute_logits(model, x_adv)
            if step == 0:
                check_labels(y, logits.shape[1])
            active = at.drop_misclassified(logits, step)
            if not len(at.rows):
                break
            loss = losses.per_example(self.loss, logits[active], target[at.rows]).sum()
            gradient = gradient_of(loss if self.target is None else -loss, x_adv)[active]
            at.x_adv = self.threat.project(at.x_adv + self.step_size * self.threat.ascent(gradient), at.x)
        return at.result()


def fgsm(threat: Threat, *, target: Target | None = None) -> PGD:
    """The fast gradient (sign) method: one step of length ``eps`` from the image; with a target, "Step" of the paper's suite.

    Args:
        threat: the ball; its ``eps``, above 0, is the step.
        target: as of ``PGD``.

    Source: Goodfellow et al. 2015, arXiv 1412.6572, section 4; targeted: Kurakin et al. 2017, arXiv 1611.01236, section 2.2.
    """
    check_threat(threat)
    positive("eps", threat.eps)
    return PGD(threat, step_size=threat.eps, steps=1, random_start=False, target=target)


def r_step(threat: Threat, *, target: Target | None = None) -> PGD:
    """A random signed step of ``alpha = eps/2``, then one gradient step of ``eps - alpha``: "R+Step" of the paper's suite.

    Args:
        threat: the ball; its ``eps``, above 0, is the two steps together.
        target: as of ``PGD``.

    Source: Tramer et al. 2018, arXiv 1705.07204 (RAND+FGSM).
    """
    check_threat(threat)
    positive("eps", threat.eps)
    return PGD(threat, step_size=threat.eps / 2, steps=1, random_start=SignStart(), target=target)


def bim(threat: Threat, *, step_size: float, steps: int, target: Target | None = None) -> PGD:
    """The basic iterative method: steps from the image itself, without noise; with a target, "Iter" of the paper's suite.

    Arguments and errors are those of ``PGD``. Source: Kurakin et al. 2017, arXiv 1607.02533, section 2.
    """
    return PGD(threat, step_size=step_size, steps=steps, random_start=False, target=target)
