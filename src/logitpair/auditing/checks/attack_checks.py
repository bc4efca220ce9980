"""Checks of the protocol's attack: whether a longer, other or blinder search does what it did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks import PGD, Attack, BlockStart, DiversifiedPGD, Square, fgsm
from logitpair.auditing.checks.finding import Finding
from logitpair.auditing.checks.pgd_trajectory import Margins, trace
from logitpair.auditing.checks.sample import Sample
from logitpair.models.inference import compute_logits
from logitpair.threat import Linf

POINTS = 0.1  # of the sample: honest networks differ by less
MORE_RESTARTS = 4
STEP_SIZES = (0.25, 4.0)  # of the protocol's own
RISING = 0.25  # of what the margin gained on the whole path, in its last quarter: more is no slowing down at all
NOISES = 8  # draws of each kind
QUERIES = 300
RADII = (0.5, 1.0, 2.0)  # of eps


@dataclass(frozen=True)
class Looked:
    """What the checks found besides.

    Args:
        findings: one a check.
        margins: at the end of each start of the protocol's attack and of a few more, ``[starts, images]``.
        eps: accuracy on the sample against the radius.
    """

    findings: tuple[Finding, ...]
    margins: Tensor
    eps: tuple[tuple[float, float], ...]


def attack_checks(sample: Sample, attack: PGD, sources: Mapping[str, nn.Module]) -> Looked:
    """Every check of an attack on images that the network gets right.

    Args:
        sample: of such images, at least one.
        attack: the protocol's, untargeted.
        sources: networks to try images of.
    """
    long = _restart(sample, attack, 0, 2 * attack.steps)
    first = long[: attack.steps + 1]
    own = [first, *(_restart(sample, attack, k) for k in range(1, attack.restarts))]
    anew = replace(attack, random_start=attack.random_start or True)
    more = [_restart(sample, anew, attack.restarts + k) for k in range(MORE_RESTARTS)]
    ends = torch.stack([margins[-1] for margins in own + more])
    broken = (first > 0).any(0)  # by the first start, which one start of something else is compared with
    by_protocol = torch.stack([(margins > 0).any(0) for margins in own]).any(0)
    standing = sample.only(~by_protocol)
    eps = tuple(_radii(sample, attack, broken))
    findings = (
        _one_step(sample, attack, by_protocol),
        _more("steps", "twice the steps", broken, (long > 0).any(0), f"Take more than {attack.steps} steps, or larger ones first."),
        _more(
            "restarts",
            f"{len(ends)} starts instead of {attack.restarts}, the ends alone,",
            (ends[: attack.restarts] > 0).any(0),
            (ends > 0).any(0),
            "Restart more often, from other starts; the loss has many peaks.",
        ),
        _step_size(sample, attack, broken),
        _losses(sample, attack, broken),
        _rising(first),
        _path(first),
        _eps(eps),
        _noise(sample, standing, attack.threat),
        _black_box(sample, standing, attack.threat),
        *(_transfer(sample, standing, attack.threat, name, source) for name, source in sources.items()),
    )
    return Looked(findings, ends, eps)


def _restart(sample: Sample, attack: PGD, number: int, steps: int | None = None) -> Margins:
    return trace(sample.model, attack, sample.x, sample.y, sample.streams(f"restart {number}"), steps)


def _share(broken: Tensor) -> float:
    return broken.float().mean().item() if len(broken) else 0.0


def _one_step(sample: Sample, attack: PGD, broken: Tensor) -> Finding:
    one, many = _share(_broken_by(sample, fgsm(attack.threat))), _share(broken)
    return Finding(
        "one_step",
        one <= many + POINTS,
        f"one step of eps breaks {one:.1%} of the sample, the protocol {many:.1%} (one step may not lead by more than {POINTS:.0%})",
        "Many small steps should beat one large one: the gradient is misleading near the image. Begin with large steps and random starts.",
        {"one_step": one, "protocol": many},
        POINTS,
    )


def _more(check: str, what: str, less: Tensor, more: Tensor, advice: str) -> Finding:
    before, after = _share(less), _share(more)
    return Finding(
        check,
        after - before <= POINTS,
        f"{what} break {after:.1%} of the sample instead of {before:.1%} (at most {POINTS:.0%} more)",
        advice,
        {"before": before, "after": after},
        POINTS,
    )


def _step_size(sample: Sample, attack: PGD, broken: Tensor) -> Finding:
    found: dict[float, float] = {}
    for factor in STEP_SIZES:
        scaled = replace(attack, step_size=min(attack.step_size * factor, 2 * attack.threat.eps))
        found[factor] = _share((_restart(sample, scaled, 0) > 0).any(0))
    factor, best, own = max(found, key=found.__getitem__), max(found.values()), _share(broken)
    return Finding(
        "step_size",
        best - own <= POINTS,
        f"steps {factor:g} times as long break {best:.1%} of the sample instead of {own:.1%} (at most {POINTS:.0%} more)",
        f"The protocol's step of {attack.step_size:.3g} does not suit this network: search over steps, or let them shrink from 2 eps.",
        {"own": own, "best": best, "factor": factor},
        POINTS,
    )


def _losses(sample: Sample, attack: PGD, broken: Tensor) -> Finding:
    by = {"cross-entropy": 0.0, "margin": 0.0}
    for name, loss in (("cross-entropy", losses.cross_entropy), ("margin", losses.margin)):
        own = attack.loss is loss
        by[name] = _share(broken if own else (_restart(sample, replace(attack, loss=loss), 0) > 0).any(0))
    apart = abs(by["cross-entropy"] - by["margin"])
    return Finding(
        "losses",
        apart <= POINTS,
        f"cross-entropy breaks {by['cross-entropy']:.1%} of the sample, margin {by['margin']:.1%} (at most {POINTS:.0%} apart)",
        "Where they disagree the gradient of the weaker one is masked: use the stronger, and look at the scale of the logits.",
        {"cross_entropy": by["cross-entropy"], "margin": by["margin"]},
        POINTS,
    )


def _rising(margins: Margins) -> Finding:
    standing = margins[:, ~(margins > 0).any(0)]
    three_quarters = standing[3 * (len(standing) - 1) // 4]
    gained = (standing[-1] - standing[0]).mean().item() if standing.shape[1] else 0.0
    late = (standing[-1] - three_quarters).mean().item() if standing.shape[1] else 0.0
    share = late / gained if gained > 0 else 0.0
    return Finding(
        "converged",
        share <= RISING,
        f"on the images that stand {share:.1%} of what the margin gains on the way it gains in the last quarter (at most {RISING:.0%})",
        "The attack was still climbing when it ended: take more or larger steps.",
        {"share": share},
        RISING,
    )


def _path(margins: Margins) -> Finding:
    lost = _share((margins > 0).any(0) & (margins[-1] <= 0))
    return Finding(
        "path",
        lost <= POINTS,
        f"{lost:.1%} of the sample is broken on the way but not at the end (at most {POINTS:.0%})",
        "Score every iterate, not the last alone; logitpair's PGD does.",
        {"share": lost},
        POINTS,
    )


def _radii(sample: Sample, attack: PGD, broken: Tensor) -> Iterator[tuple[float, float]]:
    """Accuracy of the sample at several radii and at 1, where a grey image is within reach of every other."""
    yield 0.0, 1.0
    for factor in RADII:
        if factor * attack.threat.eps < 1:
            found = broken if factor == 1 else (_restart(sample, attack.scaled(factor), 0) > 0).any(0)
            yield factor * attack.threat.eps, 1 - _share(found)
    whole = PGD(Linf(1.0), step_size=0.1, steps=attack.steps, loss=losses.margin)
    yield 1.0, 1 - _share(_broken_by(sample, whole))


def _eps(curve: tuple[tuple[float, float], ...]) -> Finding:
    rise = max(later - earlier for (_, earlier), (_, later) in pairwise(curve))
    end = curve[-1][1]
    told = ", ".join(f"{accuracy:.0%} at {eps:.3g}" for eps, accuracy in curve)
    return Finding(
        "eps",
        rise <= POINTS and end <= POINTS,
        f"accuracy on the sample against the radius: {told} (it may not rise by more than {POINTS:.0%}, and at 1 must be at most that)",
        "With every image in reach an attack that works breaks all. One that does not is misled by the gradient.",
        {"rise": rise, "at_1": end},
        POINTS,
    )


def _noise(sample: Sample, standing: Sample, threat: Linf) -> Finding:
    streams, broken = standing.streams("noise"), torch.zeros_like(standing.y, dtype=torch.bool)
    for _ in range(NOISES if len(standing.x) else 0):
        for x in (threat.random_start(standing.x, streams), BlockStart().draw(threat, standing.x, streams)):
            broken |= losses.margin(compute_logits(sample.model, x), standing.y) > 0
    share = int(broken.sum()) / len(sample.x)
    return Finding(
        "noise",
        share <= POINTS,
        f"random noise breaks {share:.1%} of the sample that the protocol left standing (at most {POINTS:.0%})",
        "Blind noise should find nothing that an attack does not: the gradient is masked.",
        {"share": share},
        POINTS,
    )


def _black_box(sample: Sample, standing: Sample, threat: Linf) -> Finding:
    share = int(_broken_by(standing, Square(threat, queries=QUERIES)).sum()) / len(sample.x)
    return Finding(
        "black_box",
        share <= POINTS,
        f"Square, which sees no gradient, breaks {share:.1%} of the sample that the protocol left standing (at most {POINTS:.0%})",
        "An attack without gradients should find less than one with them: the gradient is masked.",
        {"share": share},
        POINTS,
    )


def _transfer(sample: Sample, standing: Sample, threat: Linf, name: str, source: nn.Module) -> Finding:
    broken = torch.zeros_like(standing.y, dtype=torch.bool)
    if len(standing.x):
        attack = DiversifiedPGD(threat, steps=20, diversify=1).without_early_stop()
        x_adv = attack(source, standing.x, standing.y, generator=standing.streams(f"transfer {name}"))
        broken = losses.margin(compute_logits(sample.model, x_adv), standing.y) > 0
    share = int(broken.sum()) / len(sample.x)
    return Finding(
        f"transfer_{name}",
        share <= POINTS,
        f"images made against {name} break {share:.1%} of the sample that the protocol left standing (at most {POINTS:.0%})",
        "Images made against another network should find less than those made against this one: the gradient is masked.",
        {"share": share},
        POINTS,
    )


def _broken_by(sample: Sample, attack: Attack) -> Tensor:
    """Which images of the sample the attack breaks, ``[batch]``."""
    if not len(sample.x):
        return torch.zeros(0, dtype=torch.bool)
    x_adv = attack(sample.model, sample.x, sample.y, generator=sample.streams(type(attack).__name__))
    logits = compute_logits(sample.model, x_adv)
    return (losses.margin(logits, sample.y) > 0) | ~torch.isfinite(logits).all(1)
