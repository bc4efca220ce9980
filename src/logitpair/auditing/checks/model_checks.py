"""Checks of the network itself: what would make any gradient-based attack on it fail."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from logitpair import losses
from logitpair.attacks.base import gradient_of
from logitpair.auditing.checks.finding import Finding
from logitpair.auditing.checks.sample import Sample
from logitpair.models.inference import compute_logits
from logitpair.rng import uniform_like

DIFFER = 1e-3  # of the logits' spread: more than float32 kernels differ by on other batch sizes
ALONE = 8  # images that are run one by one too
SHARE = 0.05  # of images with a useless gradient
SMALLEST, LARGEST = 0.05, 75.0  # median lead of the winning logit between which cross-entropy has a gradient in every precision
TINY = 1 / 1024  # of the pixels' range: less than half of an 8-bit step
SAME = 0.5  # of images whose logits do not answer to noise that small


def model_checks(sample: Sample) -> Iterator[Finding]:
    """Every check of the network, on images as they are."""
    logits = compute_logits(sample.model, sample.x)
    yield _repeatable(sample, logits)
    yield _alone(sample, logits)
    yield _probabilities(logits)
    yield _finite(logits)
    yield _scale(logits, sample.y)
    yield _gradients(sample, "cross_entropy", losses.cross_entropy)
    yield _gradients(sample, "margin", losses.margin)
    yield _resolution(sample, logits)


def _repeatable(sample: Sample, logits: Tensor) -> Finding:
    differ = max(_difference(logits, compute_logits(sample.model, sample.x)) for _ in range(3))
    return Finding(
        "repeatable",
        differ <= DIFFER,
        f"the logits of the same images differ by up to {differ:.2g} of their spread from call to call (at most {DIFFER:g})",
        "The network is random or remembers its calls. Switch that off, or average its logits over many calls and audit the average "
        "(expectation over transformation, arXiv 1802.00420).",
        {"difference": differ},
        DIFFER,
        blocks=True,
    )


def _alone(sample: Sample, logits: Tensor) -> Finding:
    alone = torch.cat([compute_logits(sample.model, image[None]) for image in sample.x[:ALONE]])
    differ = _difference(logits[:ALONE], alone)
    return Finding(
        "batch_independent",
        differ <= DIFFER,
        f"an image's logits alone and within a batch differ by up to {differ:.2g} of their spread (at most {DIFFER:g})",
        "Images influence each other, as with BatchNorm in training mode. Call model.eval(), and see that no layer uses the statistics of "
        "the batch.",
        {"difference": differ},
        DIFFER,
        blocks=True,
    )


def _probabilities(logits: Tensor) -> Finding:
    sums = bool((logits >= 0).all() and (logits.sum(1) - 1).abs().max() < 1e-3)
    return Finding(
        "logits",
        not sums,
        "the outputs are " + ("not negative and sum to 1: probabilities" if sums else "no probabilities"),
        "Remove the softmax from the network: attacks apply their own, and a second one flattens the gradient.",
        {"probabilities": float(sums)},
        0.5,
    )


def _finite(logits: Tensor) -> Finding:
    share = (~torch.isfinite(logits)).any(1).float().mean().item()
    return Finding(
        "finite",
        share == 0,
        f"{share:.1%} of the images have logits that are no finite numbers (none may)",
        "Something overflows, as float16 does above 65,504. Run the network in float32, or scale its logits down.",
        {"share": share},
        0.0,
        blocks=True,
    )


def _scale(logits: Tensor, y: Tensor) -> Finding:
    lead = losses.margin(logits, y).abs().nan_to_num(nan=torch.inf).median().item()
    return Finding(
        "logit_scale",
        SMALLEST <= lead <= LARGEST,
        f"the winning logit leads by {lead:.3g} in the median ({SMALLEST:g} to {LARGEST:g} is usual)",
        "So small or large logits leave cross-entropy flat or with no gradient at all. Divide the logits by a constant before attacking, "
        "or use a loss that does not depend on their scale (margin, DLR); the audit does.",
        {"median_lead": lead},
        LARGEST if lead > LARGEST else SMALLEST,
    )


def _gradients(sample: Sample, name: str, loss: losses.Loss) -> Finding:
    x = sample.x.clone().requires_grad_()
    with torch.enable_grad():
        gradient = gradient_of(loss(compute_logits(sample.model, x), sample.y).sum(), x).flatten(1)
    vanishing = (gradient == 0).all(1).float().mean().item()
    broken = (~torch.isfinite(gradient)).any(1).float().mean().item()
    return Finding(
        f"gradients_{name}",
        vanishing + broken <= SHARE,
        f"the gradient of {name.replace('_', '-')} is zero on {vanishing:.1%} and not finite on {broken:.1%} of the images "
        f"(together at most {SHARE:.0%})",
        "An attack that follows this gradient stands still. Look for saturated units, rounding, argmax, float16 or very large logits; "
        "replace them in the backward pass (BPDA, arXiv 1802.00420), or rely on the searches without gradients.",
        {"vanishing": vanishing, "not_finite": broken},
        SHARE,
    )


def _resolution(sample: Sample, logits: Tensor) -> Finding:
    noise = TINY * (2 * uniform_like(sample.x, sample.streams("resolution")) - 1)
    moved = compute_logits(sample.model, (sample.x + noise).clamp(0, 1))
    same = (moved == logits).all(1).float().mean().item()
    return Finding(
        "resolution",
        same <= SAME,
        f"{same:.1%} of the images give the same logits, to the last bit, under noise of {TINY:.2g} (at most {SAME:.0%})",
        "The network rounds its input, as 8-bit quantisation or JPEG do, so that its gradient is not that of what it computes. Attack it "
        "with rounding replaced by the identity in the backward pass; the audit does where it can see the rounding.",
        {"same": same},
        SAME,
    )


def _difference(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a part of the spread of the logits."""
    spread = (a.nan_to_num().amax() - a.nan_to_num().amin()).clamp_min(torch.finfo(a.dtype).tiny)
    return float(((a - b).nan_to_num().abs().amax() / spread).item())
