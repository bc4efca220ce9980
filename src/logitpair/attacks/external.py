"""Attacks of other libraries, searched and verified as ours."""

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from logitpair.attacks.base import Attack, Images, Labels, RandomSource, as_images
from logitpair.errors import InputError
from logitpair.models.inference import compute_logits
from logitpair.rng import uniform_number
from logitpair.threat import AnyThreat
from logitpair.validate import check_labels, kind_of


@dataclass(frozen=True)
class External(Attack):
    """Whatever a function finds: one of foolbox, torchattacks, AutoAttack, ART, or your own.

    What it returns is brought into the ball and the box, and counts only if the network misclassifies that; an image with NaN counts as
    none. Its gradients and forwards are counted. Whatever it does to the network is undone, and a function that changes its weights is
    refused. Random numbers come from the global generators of PyTorch, numpy and Python, which are seeded from ``generator`` and put back;
    unlike with the attacks of this package they depend on which images share a batch.

    Args:
        threat: the ball.
        attack: ``attack(model, x, y, threat)`` returns the images that it found, of the shape of ``x`` and in floating point, as a tensor
            or an array. The model is frozen and in eval mode. A recipe gives the function by its import path.

    Raises:
        InputError: when called, for a function that returns anything else.
    """

    threat: AnyThreat
    _: KW_ONLY
    attack: Callable[..., Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.attack):
            raise InputError(f"attack must be a function of (model, x, y, threat), not {kind_of(self.attack)}")

    def search(self, model: nn.Module, x: Images, y: Labels, generator: RandomSource | None) -> Images:
        with torch.no_grad():
            check_labels(y, compute_logits(model, x[:1]).shape[1])
        with _seeded(int(uniform_number(generator) * 2**31), x.device), _unchanged(model), torch.enable_grad():
            found = self.attack(model, x.clone(), y.clone(), self.threat)
        if isinstance(found, np.ndarray) and found.dtype.kind == "f":
            found = torch.from_numpy(np.ascontiguousarray(found, np.float64))
        return as_images(found, x)


@contextmanager
def _unchanged(model: nn.Module) -> Generator[None]:
    """The network's weights and their gradients are afterwards as they were; that the weights are not so by themselves is refused."""
    before = [(parameter, parameter.grad, parameter.detach().clone()) for parameter in model.parameters()]
    try:
        for parameter, *_ in before:
            parameter.grad = None  # to which the function may add in place
        yield
    finally:
        changed = False
        for parameter, gradient, value in before:
            parameter.grad = gradient
            if not torch.equal(parameter, value):
                changed = True
                parameter.data.copy_(value)
    if changed:
        raise InputError("attack: changed the network's weights; accepted: a function that leaves them as they are")


@contextmanager
def _seeded(seed: int, device: torch.device) -> Generator[None]:
    """Global random numbers that begin at a seed, and are afterwards as they were."""
    arrays, python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
    finally:
        np.random.set_state(arrays)
        random.setstate(python)
