"""Large, shrinking steps from diverse starts, along gradients of a smoothed network: the audit's own search."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks.backward_smoothing import SmoothBackward
from logitpair.attacks.base import Attack, AttackResult, Images, Labels, gradient_of, nth_other_class
from logitpair.attacks.pgd import clearly_misclassified
from logitpair.attacks.starts import BlockStart
from logitpair.models.inference import compute_logits
from logitpair.rng import RandomSource, uniform_like
from logitpair.threat import Linf
from logitpair.validate import at_least, check_labels, whole


@dataclass(frozen=True)
class DiversifiedPGD(Attack):
    """Sign steps that shrink from ``2 eps`` to nothing, from the best of a few random corners, driven apart in the logits first.

    Each restart draws ``candidates`` corners of the ball (``BlockStart``) and goes on from the one with the largest margin; takes
    ``diversify`` steps of ``2 eps`` along a random direction of the logits; then ``steps`` steps that climb the loss, the ``k``-th of
    length ``2 eps (1 - k / steps)``. Gradients are smoothed (``SmoothBackward``), by less and less, and in the last step not at all.
    A misclassified example leaves at once.

    Args:
        threat: the ball to search.
        steps: gradient steps of each restart that climb the loss.
        diversify: gradient steps before them.
        candidates: starts to choose from by a forward pass each; 1: no choice.
        smoothing: of the gradient at the first step, see ``SmoothBackward``; 0 for the network's own.
        restarts: independent starts; an example broken in one is not searched in the next.
        loss: ``loss(logits, classes) -> [batch]``.
        target_rank: aim at the other class that is this likely by the clean prediction (1: the most likely); None: at any.
        early_stop: False searches on to the last step, as transfer needs.

    Raises:
        InputError: for ``steps``, ``candidates``, ``restarts`` or ``target_rank`` below 1, ``diversify`` or ``smoothing`` below 0, and a
            ``target_rank`` that the model has no class for.

    Source: diversified starts: Tashiro et al. 2020, arXiv 2003.06878, section 3.1. Smoothing, the choice of starts and their putting
    together: ours, measured in docs/explanation/audit.md.
    """

    threat: Linf
    _: KW_ONLY
    steps: int = 20
    diversify: int = 2
    candidates: int = 4
    smoothing: float = 0.0
    restarts: int = 1
    loss: losses.Loss = losses.margin
    target_rank: int | None = None
    early_stop: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "candidates", "restarts"):
            whole(name, getattr(self, name), 1)
        whole("diversify", self.diversify, 0)
        at_least("smoothing", self.smoothing, 0)
        if self.target_rank is not None:
            whole("target_rank", self.target_rank, 1)

    def scaled(self, factor: float) -> Self:
        return replace(self, threat=self.threat.scaled(factor))

    def without_early_stop(self) -> Self:
        return replace(self, early_stop=False)

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> AttackResult:
        with torch.no_grad():
            clean = compute_logits(model, x)
        check_labels(y, clean.shape[1])
        aim = y if self.target_rank is None else nth_other_class(clean, y, self.target_rank)
        best, best_margin = x.clone(), torch.full_like(clean[:, 0], -torch.inf)
        in_restart, at_step, gradients, forwards = (torch.zeros_like(y) for _ in range(4))
        forwards += 1
        standing = torch.arange(len(x), device=x.device)
        for restart in range(self.restarts):
            start = self.choose(model, x, y, standing, generator)
            direction = (2 * uniform_like(clean, generator) - 1)[standing]
            x_adv, taken = self.climb(model, x[standing], y[standing], aim[standing], start, direction)
            with torch.no_grad():
                logits = compute_logits(model, x_adv)
            reached = losses.margin(logits, y[standing]).nan_to_num(nan=torch.inf)
            gradients[standing] += (taken + 1).clamp_(max=self.diversify + self.steps)  # who leaves early looks at one gradient more
            forwards[standing] += 1 + (self.candidates if self.candidates > 1 else 0)
            better = reached > best_margin[standing]
            rows = standing[better]
            best[rows], best_margin[rows], in_restart[rows], at_step[rows] = x_adv[better], reached[better], restart, taken[better]
            if self.early_stop:
                standing = standing[~clearly_misclassified(logits, y[standing])]
            if not len(standing):
                break
        return AttackResult(best, restart=in_restart, step=at_step, gradients=gradients, forwards=forwards)

    def choose(self, model: nn.Module, x: Images, y: Labels, standing: Tensor, generator: RandomSource | None) -> Tensor:
        """The candidate of the largest margin for each example that stands, all drawing their numbers so that nobody's depend on others."""
        best = BlockStart().draw(self.threat, x, generator)[standing]
        if self.candidates == 1:
            return best
        with torch.no_grad():
            best_margin = losses.margin(compute_logits(model, best), y[standing])
            for _ in range(self.candidates - 1):
                candidate = BlockStart().draw(self.threat, x, generator)[standing]
                reached = losses.margin(compute_logits(model, candidate), y[standing])
                better = reached > best_margin
                best[better], best_margin[better] = candidate[better], reached[better]
        return best

    def climb(self, model: nn.Module, x: Images, y: Labels, aim: Labels, x_adv: Images, direction: Tensor) -> tuple[Images, Tensor]:
        """One restart from ``x_adv``: where each example stopped, and after how many steps."""
        total = self.diversify + self.steps
        end, taken = x_adv.clone(), torch.full((len(x),), total, device=x.device)
        rows = torch.arange(len(x), device=x.device)
        for step in range(total):
            progress = max(0.0, (step - self.diversify) / self.steps)
            x_adv = x_adv.detach().requires_grad_()
            with SmoothBackward(self.smoothing * (1 - progress) if step < total - 1 else 0.0):
                logits = compute_logits(model, x_adv)
            going = torch.arange(len(x_adv), device=x.device)
            if self.early_stop and (fooled := clearly_misclassified(logits.detach(), y)).any():
                end[rows[fooled]], taken[rows[fooled]] = x_adv.detach()[fooled], step
                going = (~fooled).nonzero().squeeze(1)
                if not len(going):
                    return end, taken
            x, y, aim, rows, direction = x[going], y[going], aim[going], rows[going], direction[going]
            climbed = (logits[going] * direction).sum(1) if step < self.diversify else self._climbed(logits[going], y, aim)
            gradient = gradient_of(climbed.sum(), x_adv)[going]
            length = 2 * self.threat.eps * (1 - progress)
            x_adv = self.threat.project(x_adv.detach()[going] + length * self.threat.ascent(gradient), x)
        end[rows] = x_adv
        return end, taken

    def _climbed(self, logits: Tensor, y: Labels, aim: Labels) -> Tensor:
        if self.target_rank is None:
            return losses.per_example(self.loss, logits, y)
        return losses.targeted_margin(logits, y, aim)
