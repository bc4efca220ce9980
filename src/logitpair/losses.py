"""Losses and pairing penalties: pure functions that return one number an example; the caller reduces.

Attacks sum over the batch, so that the batch size never scales a gradient; training takes the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Logits = Float[Tensor, "batch classes"]
Labels = Int[Tensor, " batch"]
PerExample = Float[Tensor, " batch"]

Loss = Callable[..., Any]
"""``loss(logits, y) -> [batch]`` or ``pairing(a, b) -> [batch]``; typed loosely, so that a recipe may name any function."""


def cross_entropy(logits: Logits, y: Labels) -> PerExample:
    """Softmax cross-entropy with the class ``y``, ``[batch]``, in nats."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Logits, y: Labels) -> PerExample:
    """The largest other logit minus the logit of ``y``, ``[batch]``: positive exactly when misclassified.

    Source: Carlini and Wagner 2017, arXiv 1608.04644, section V (loss f6, without its floor).
    """
    true = logits.gather(1, y[:, None]).squeeze(1)
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - true


def squared_l2_mean(a: Logits, b: Logits) -> PerExample:
    """Mean over the classes of the squared difference, ``[batch]``: the pairing of the authors' released code."""
    return (a - b).square().mean(1)


def squared_l2_sum(a: Logits, b: Logits) -> PerExample:
    """Squared Euclidean distance of the logits, ``[batch]``: the pairing as arXiv 1803.06373, section 3.2 writes it."""
    return (a - b).square().sum(1)


def l1_mean(a: Logits, b: Logits) -> PerExample:
    """Mean over the classes of the absolute difference, ``[batch]`` (an alternative that section 3.2 names)."""
    return (a - b).abs().mean(1)


def huber_mean(a: Logits, b: Logits) -> PerExample:
    """Mean over the classes of the Huber loss with threshold 1, ``[batch]`` (an alternative that section 3.2 names)."""
    return F.huber_loss(a, b, reduction="none").mean(1)
