"""Losses and pairing penalties: pure functions that return one number an example; the caller reduces.

Attacks sum over the batch, so that the batch size never scales a gradient; training takes the mean.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from logitpair.errors import InputError, first_line

Logits = Float[Tensor, "batch classes"]
Labels = Int[Tensor, " batch"]
PerExample = Float[Tensor, " batch"]

_LEAST_SPREAD = 1e-12  # of the logits that a ratio divides by

Loss = Callable[..., Any]
"""``loss(logits, y) -> [batch]`` or ``pairing(a, b) -> [batch]``; typed loosely, so that a recipe may name any function."""


def per_example(loss: Loss, logits: Logits, *compared: Tensor) -> PerExample:
    """``loss(logits, *compared)``, ``[batch]``; settings may name any function, and one that gives anything else is an ``InputError``."""
    name = f"{getattr(loss, '__module__', '')}.{getattr(loss, '__qualname__', loss)}".lstrip(".")
    accepted = f"accepted: a function of logits and labels that gives one number an example, here [{len(logits)}]"
    try:
        values = loss(logits, *compared)
    except (TypeError, AttributeError) as error:
        raise InputError(f"loss: {name} cannot be called with logits and labels ({first_line(error)}); {accepted}") from error
    if not isinstance(values, Tensor) or values.shape != logits.shape[:1]:
        found = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"loss: {name} gives {found}; {accepted}")
    return values


def cross_entropy(logits: Logits, y: Labels) -> PerExample:
    """Softmax cross-entropy with the class ``y``, ``[batch]``, in nats."""
    return F.cross_entropy(logits, y, reduction="none")


def misclassification_margin(logits: Logits, y: Labels) -> PerExample:
    """The largest other logit minus the logit of ``y``, ``[batch]``: positive exactly when misclassified; the usual margin, negated.

    Source: Carlini and Wagner 2017, arXiv 1608.04644, section V (loss f6, without its floor).
    """
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - logits.gather(1, y[:, None]).squeeze(1)


margin = misclassification_margin  # the name in settings of version 0.1


def targeted_margin(logits: Logits, y: Labels, target: Labels) -> PerExample:
    """The logit of ``target`` minus that of ``y``, ``[batch]``: positive only when misclassified."""
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)


def dlr(logits: Logits, y: Labels) -> PerExample:
    """The difference of logits ratio: ``misclassification_margin`` over the largest logit minus the third largest, ``[batch]``.

    The same for logits shifted or scaled, so that no scale hides its gradient. Where the three largest are equal they are taken to differ
    by 1e-12.

    Fewer than three classes raise ``InputError``. Source: Croce and Hein 2020, arXiv 2003.01690, section 5.
    """
    top = _largest(logits, 3, "dlr", "misclassification_margin")
    return misclassification_margin(logits, y) / (top[:, 0] - top[:, 2]).clamp(min=_LEAST_SPREAD)


def targeted_dlr(logits: Logits, y: Labels, target: Labels) -> PerExample:
    """``targeted_margin`` over the largest logit minus the mean of the third and fourth largest, ``[batch]``.

    Shifted or scaled logits give the same. Where the four largest are equal that difference is taken to be 1e-12.

    Fewer than four classes raise ``InputError``. Source: Croce and Hein 2020, arXiv 2003.01690, section 5.
    """
    top = _largest(logits, 4, "targeted_dlr", "targeted_margin")
    return targeted_margin(logits, y, target) / (top[:, 0] - top[:, 2:].mean(1)).clamp(min=_LEAST_SPREAD)


def _largest(logits: Logits, count: int, loss: str, instead: str) -> Float[Tensor, "batch {count}"]:
    if logits.shape[1] < count:
        raise InputError(f"loss: {loss} needs at least {count} classes and the model has {logits.shape[1]}; use {instead} instead")
    return logits.topk(count, dim=1).values


def clearly_above(value: PerExample, other: PerExample) -> Bool[Tensor, " batch"]:
    """Whether each ``value`` is higher by more than rounding, which differs with the batch that an image is in; NaN is not."""
    return value - other > 100 * torch.finfo(value.dtype).eps * value.abs()


def squared_l2_mean(a: Logits, b: Logits) -> PerExample:
    """Mean over the classes of the squared difference, ``[batch]``: the pairing of the authors' released code."""
    return (a - b).square().mean(1)


def squared_l2_sum(a: Logits, b: Logits) -> PerExample:
    """Squared Euclidean distance of the logits, ``[batch]``: the pairing as arXiv 1803.06373, section 3.2 writes it."""
    return (a - b).square().sum(1)


def l2(a: Logits, b: Logits) -> PerExample:
    """Euclidean distance of the logits, ``[batch]``, not squared; its gradient where they are equal is 0."""
    return torch.linalg.vector_norm(a - b, dim=1)


def l1_mean(a: Logits, b: Logits) -> PerExample:
    """Mean over the classes of the absolute difference, ``[batch]`` (an alternative that section 3.2 names)."""
    return (a - b).abs().mean(1)


def huber_mean(a: Logits, b: Logits) -> PerExample:
    """Mean over the classes of the Huber loss with threshold 1, ``[batch]`` (an alternative that section 3.2 names)."""
    return F.huber_loss(a, b, reduction="none").mean(1)


def kl_from_clean(clean: Logits, other: Logits) -> PerExample:
    """Kullback-Leibler divergence KL(p || q) of the clean prediction p and the other one q, ``[batch]``, in nats."""
    log_p, log_q = clean.log_softmax(1), other.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def kl_to_clean(clean: Logits, other: Logits) -> PerExample:
    """The other direction, KL(q || p) with p the clean prediction and q the other one, ``[batch]``, in nats."""
    return kl_from_clean(other, clean)


def boosted_cross_entropy(logits: Logits, y: Labels) -> PerExample:
    """Cross-entropy with ``y`` minus log(1 - largest probability of another class), ``[batch]``, in nats.

    Source: Wang et al., "Improving Adversarial Robustness Requires Revisiting Misclassified Examples", ICLR 2020, the boosted
    cross-entropy (BCE) of MART. 1 - p is summed from the remaining classes, so that it stays finite where p rounds to 1.
    """
    rival = logits.scatter(1, y[:, None], -torch.inf).argmax(1, keepdim=True)
    log_rest = logits.scatter(1, rival, -torch.inf).logsumexp(1) - logits.logsumexp(1)
    return cross_entropy(logits, y) - log_rest
