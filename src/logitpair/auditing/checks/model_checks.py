"""Checks of the network itself: what would make any gradient-based attack on it fail."""

from collections.abc import Iterator

import torch
from torch import Tensor

from logitpair import losses
from logitpair.attacks.base import gradient_of
from logitpair.auditing.checks.finding import finding
from logitpair.auditing.checks.sample import Sample, fraction
from logitpair.evaluation.network_checks import DIFFER, between_batches, between_calls, difference
from logitpair.models.inference import compute_logits
from logitpair.rng import uniform_like
from logitpair.storage.results import Finding
from logitpair.validate import are_probabilities

USELESS = 0.05  # fraction of images whose gradient is zero or not finite
BLIND = 0.5  # of the margin, which every search follows: with more of them the searches by gradients are blind
SMALLEST, LARGEST = 0.05, 75.0  # median lead of the winning logit between which cross-entropy has a gradient in every precision
TINY = 1 / 1024  # of the pixels' range: less than half of an 8-bit step
SAME = 0.5  # fraction of images whose logits do not react to noise that small


def model_checks(sample: Sample, surveyed: Tensor) -> Iterator[Finding]:
    """Every check of the network, on unperturbed images whose margins ``[batch]`` were ``surveyed`` before the search."""
    logits = compute_logits(sample.model, sample.x)
    yield _repeatable(sample, logits, surveyed)
    yield _batch_independent(sample, logits)
    yield _no_probabilities(logits)
    yield _logit_scale(logits, sample.y)
    yield _gradients(sample, "cross_entropy", losses.cross_entropy)
    yield _gradients(sample, "margin", losses.margin)
    yield _resolution(sample, logits)


def _repeatable(sample: Sample, logits: Tensor, surveyed: Tensor) -> Finding:
    since = difference(losses.margin(logits, sample.y).to(surveyed), surveyed, logits)
    differ = max(between_calls(sample.model, sample.x, logits), since if since > DIFFER else 0.0)  # less is rounding in another batch
    evidence = f"the logits of the same images differ by up to {differ:.2g} of their spread from call to call (at most {DIFFER:g})"
    return finding("repeatable", differ <= DIFFER, evidence, DIFFER, difference=differ)


def _batch_independent(sample: Sample, logits: Tensor) -> Finding:
    differ = between_batches(sample.model, sample.x, logits)
    evidence = f"an image's logits alone and within a batch differ by up to {differ:.2g} of their spread (at most {DIFFER:g})"
    return finding("batch_independent", differ <= DIFFER, evidence, DIFFER, difference=differ)


def _no_probabilities(logits: Tensor) -> Finding:
    sums = are_probabilities(logits)
    evidence = "the outputs are " + ("not negative and sum to 1: probabilities" if sums else "not probabilities")
    return finding("logits", not sums, evidence, 0.5, probabilities=float(sums))


def _logit_scale(logits: Tensor, y: Tensor) -> Finding:
    lead = losses.margin(logits, y).abs().nan_to_num(nan=torch.inf).median().item()
    evidence = f"the winning logit leads by {lead:.3g} in the median ({SMALLEST:g} to {LARGEST:g} is usual)"
    return finding("logit_scale", SMALLEST <= lead <= LARGEST, evidence, LARGEST if lead > LARGEST else SMALLEST, median_lead=lead)


def _gradients(sample: Sample, name: str, loss: losses.Loss) -> Finding:
    x = sample.x.clone().requires_grad_()
    with torch.enable_grad():
        gradient = gradient_of(loss(compute_logits(sample.model, x), sample.y).sum(), x).flatten(1)
    vanishing, not_finite = fraction((gradient == 0).all(1)), fraction((~torch.isfinite(gradient)).any(1))
    evidence = f"the gradient of {name.replace('_', '-')} is zero on {vanishing:.1%} and not finite on {not_finite:.1%} of the images"
    useless = vanishing + not_finite
    evidence, blind = f"{evidence} (together at most {USELESS:.0%})", loss is losses.margin and useless > BLIND
    measured = {"vanishing": vanishing, "not_finite": not_finite}
    return finding("gradients", useless <= USELESS, evidence, USELESS, of=name, forbids_trust=blind, **measured)


def _resolution(sample: Sample, logits: Tensor) -> Finding:
    noise = TINY * (2 * uniform_like(sample.x, sample.streams("resolution")) - 1)
    same = fraction((compute_logits(sample.model, (sample.x + noise).clamp(0, 1)) == logits).all(1))
    evidence = f"{same:.1%} of the images give the same logits, to the last bit, under noise of {TINY:.2g} (at most {SAME:.0%})"
    return finding("resolution", same <= SAME, evidence, SAME, same=same)
