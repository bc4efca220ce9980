"""Large, shrinking steps from diverse starts, along gradients of a smoothed network: the audit's own search."""

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.active_set import ActiveSet, Ascent
from logitpair.attacks.backward_smoothing import SmoothBackward
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, check_loss, gradient_of, nth_other_class
from logitpair.attacks.starts import BlockStart
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource, uniform_like
from logitpair.threat import AnyThreat
from logitpair.validate import at_least, check_labels, whole


@dataclass(frozen=True)
class DiversifiedPGD(Attack):
    """Steps that shrink from ``2 eps`` to nothing, from the best of a few random corners, driven apart in the logits first.

    Each restart draws ``candidates`` corners of the ball (``BlockStart``) and goes on from the one with the largest margin; takes
    ``diversify`` steps of ``2 eps`` along a random direction of the logits; then ``steps`` steps that ascend the loss, the ``k``-th of
    length ``2 eps (1 - k / steps)``. Gradients are smoothed (``SmoothBackward``), by less and less, and in the last step not at all.
    A misclassified example leaves at once.

    Args:
        threat: the ball to search.
        steps: gradient steps of each restart that ascend the loss, at least 1.
        diversify: gradient steps before them.
        candidates: starts to choose from by a forward pass each; 1: no choice.
        smoothing: of the gradient at the first step, at least 0, see ``SmoothBackward``; 0 for the network's own.
        restarts: independent starts, at least 1; an example broken in one is not searched in the next.
        loss: ``loss(logits, y) -> [batch]``; not used with a ``target_rank``, where ``losses.targeted_margin`` is ascended.
        target_rank: the target by its rank among the classes other than ``y`` in the clean prediction, 1 the most likely; None: no target.
        early_stop: False searches on to the last step, as transfer needs.

    Raises:
        InputError: for a ``target_rank`` that the model has no class for.

    Source: diversified starts: Tashiro et al. 2020, arXiv 2003.06878, section 3.1. Smoothing, the choice of starts and their putting
    together: ours, measured in docs/explanation/audit.md.
    """

    threat: AnyThreat
    _: KW_ONLY
    steps: int = 20
    diversify: int = 2
    candidates: int = 4
    smoothing: float = 0.0
    restarts: int = 1
    loss: losses.Loss = losses.misclassification_margin
    target_rank: int | None = None
    early_stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)
        for name in ("steps", "candidates", "restarts"):
            whole(name, getattr(self, name), 1)
        whole("diversify", self.diversify, 0)
        at_least("smoothing", self.smoothing, 0)
        if self.target_rank is not None:
            whole("target_rank", self.target_rank, 1)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        with torch.no_grad():
            clean = compute_logits(model, x)
        check_labels(y, clean.shape[1])
        target = None if self.target_rank is None else nth_other_class(clean, y, self.target_rank)
        active = ActiveSet(x, y, forwards=1)
        for _ in active.restarts(self.restarts):
            rows = active.rows
            start = self.best_candidate(model, x, active, generator)
            direction = (2 * uniform_like(clean, generator) - 1)[rows]
            x_adv, taken = self.ascend(model, x[rows], y[rows], None if target is None else target[rows], start, direction)
            active.best.forwards[rows] += self.candidates if self.candidates > 1 else 0
            active.end_restart(model, x_adv, taken, steps=self.diversify + self.steps, early_stop=self.early_stop)
        return active.best

    def best_candidate(self, model: nn.Module, x: Images, active: ActiveSet, generator: RandomSource | None) -> Tensor:
        """The candidate of the largest margin for each active example."""
        rows, y = active.rows, active.y[active.rows]
        best = BlockStart().draw(self.threat, x, generator)[rows]  # noise is drawn for all examples, active or not
        if self.candidates == 1:
            return best
        with torch.no_grad():
            best_margin = losses.misclassification_margin(compute_logits(model, best), y)
            for _ in range(self.candidates - 1):
                candidate = BlockStart().draw(self.threat, x, generator)[rows]
                margin = losses.misclassification_margin(compute_logits(model, candidate), y)
                better = margin > best_margin
                best[better], best_margin[better] = candidate[better], margin[better]
        return best

    def ascend(
        self, model: nn.Module, x: Images, y: Labels, target: Labels | None, start: Images, direction: Tensor
    ) -> tuple[Images, Labels]:
        """One restart: the iterate that each example stopped at, and after how many steps."""
        steps = self.diversify + self.steps
        at = Ascent(x, y, start, steps=steps, early_stop=self.early_stop)
        for step in range(steps):
            progress = max(0.0, (step - self.diversify) / self.steps)
            x_adv = at.x_adv.detach().requires_grad_()
            smoothed = SmoothBackward(self.smoothing * (1 - progress) if step < steps - 1 else 0.0)
            with smoothed:
                logits = compute_logits(model, x_adv)
            active = at.drop_misclassified(logits, step)
            if not len(at.rows):
                break
            logits = logits[active]
            if step < self.diversify:
                loss = (logits * direction[at.rows]).sum(1)
            elif target is None:
                loss = losses.per_example(self.loss, logits, at.y)
            else:
                loss = losses.targeted_margin(logits, at.y, target[at.rows])
            with smoothed:  # for activations that are recomputed
                gradient = gradient_of(loss.sum(), x_adv)[active]
            at.x_adv = self.threat.project(at.x_adv + 2 * self.threat.eps * (1 - progress) * self.threat.ascent(gradient), at.x)
        return at.result()
