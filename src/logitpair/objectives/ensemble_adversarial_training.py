"""Ensemble adversarial training."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Self

import torch
from torch import nn

from logitpair.attacks import Attack
from logitpair.distributed import bare
from logitpair.errors import InputError
from logitpair.objectives.adversarial_training import check_share, mixed_cross_entropy, warmed_up
from logitpair.objectives.base import Images, Labels, LossTerms, Objective, forward_together
from logitpair.random import Generator, uniform_like
from logitpair.validate import at_least


@dataclass(frozen=True)
class EnsembleAdversarialTraining(Objective):
    """Cross-entropy on clean images mixed with that on adversarial ones made against one of several networks.

    For each batch, one network is drawn uniformly from the one in training and the static ``sources``; the source stays as it is.
    Under data-parallel training each process draws for its own part of the batch.

    Args:
        attack: makes the adversarial examples (one step, in the source); it searches to its last step, against a network in eval mode.
        sources: trained networks, images to logits; in a recipe a run by ``class_path: logitpair.run.Trained``, ``run: FOLDER``, or any
            module by its import path. They move to the images' device
            and dtype.
        clean_share: weight of the clean loss, in [0, 1); the adversarial loss has the rest.
        warmup: epochs over which the attack's ``eps`` and ``step_size`` grow linearly to their full size; 0 starts at full size.

    Raises:
        InputError: for no sources, ``clean_share`` outside [0, 1), or ``warmup`` below 0.

    Source: Tramer et al. 2018, arXiv 1705.07204, section 3.4. The warm-up is not in it.
    """

    attack: Attack
    _: KW_ONLY
    sources: tuple[nn.Module, ...]
    clean_share: float = 0.5
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("sources is empty; it must hold at least one trained network (or use AdversarialTraining)")
        check_share(self.clean_share)
        at_least("warmup", self.warmup, 0)

    def at(self, epoch: float) -> Self:
        return replace(self, attack=warmed_up(self.attack, epoch, self.warmup))

    def loss(self, model: nn.Module, x: Images, y: Labels, generator: Generator | None) -> LossTerms:
        victims = [bare(model), *(source.to(x) for source in self.sources)]
        victim = victims[int(uniform_like(torch.zeros(1, device=x.device), generator) * len(victims))]
        x_adv = self.attack.exhaustive()(victim, x, y, generator=generator)
        clean, adversarial = forward_together(model, y, x, x_adv)
        total, terms = mixed_cross_entropy(clean, adversarial, y, self.clean_share)
        return LossTerms(total, terms, {"clean": clean, "adversarial": adversarial})
