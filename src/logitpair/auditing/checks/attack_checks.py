"""Checks of the reference attack: whether a longer, different or gradient-free search finds what it did not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from logitpair import losses
from logitpair.attacks import PGD, Attack, BlockStart, Square, fgsm
from logitpair.auditing.checks.finding import finding
from logitpair.auditing.checks.sample import Sample, fraction
from logitpair.auditing.strategies import transfer_attack
from logitpair.storage.results import EpsPoint, Finding
from logitpair.threat import Threat

POINTS = 0.1  # of the sample: honest networks differ by less
MORE_RESTARTS = 4
STEP_SIZES = (0.25, 4.0)  # of the reference attack's own
RISING = 0.25  # of what the margin gained on the whole path, in its last quarter: more is no slowing down at all
NOISES = 8  # draws of each kind
QUERIES = 300
RADII = (0.5, 1.0, 2.0)  # of eps


def attack_checks(sample: Sample, attack: PGD, sources: Mapping[str, nn.Module]) -> tuple[list[Finding], tuple[EpsPoint, ...], Tensor]:
    """Every check of an untargeted attack on a sample that the network gets right, the accuracy against the radius, and the margins
    ``[restarts, images]`` at the ends of the attack's restarts and a few more."""
    longer = sample.trajectory(attack, steps=2 * attack.steps)
    first = longer[: attack.steps + 1]
    own = [first, *(sample.trajectory(attack, number) for number in range(1, attack.restarts))]
    random_start = replace(attack, random_start=attack.random_start or True)
    more = [sample.trajectory(random_start, attack.restarts + number) for number in range(MORE_RESTARTS)]
    ends = torch.stack([margins[-1] for margins in own + more])
    broken_first = _broken(first)  # by one restart, which one of something else is compared with
    broken = torch.stack([_broken(margins) for margins in own]).any(0)
    active = sample.only(~broken)
    curve = _eps_curve(sample, attack, broken_first)
    findings = [
        _one_step(sample, attack, broken),
        _more("steps", "twice the steps", broken_first, _broken(longer)),
        _more("restarts", f"the ends of {len(ends)} restarts", _broken(ends[: attack.restarts]), _broken(ends)),
        _step_size(sample, attack, broken_first),
        _losses(sample, attack, broken_first),
        _converged(first),
        _path(first),
        _eps(curve, sample.y),
        _noise(sample, active, attack.threat),
        _black_box(sample, active, attack.threat),
        *(_transfer(sample, active, attack.threat, name, source) for name, source in sources.items()),
    ]
    return findings, curve, ends


def _broken(margins: Tensor) -> Tensor:
    """Which images any of these iterates or restarts breaks, ``[batch]``."""
    return (margins > 0).any(0)


def _broken_by(sample: Sample, attack: Attack) -> Tensor:
    """Which images of the sample the attack breaks, ``[batch]``."""
    return sample.broken(attack(sample.model, sample.x, sample.y, generator=sample.streams(type(attack).__name__)))


def _one_step(sample: Sample, attack: PGD, broken: Tensor) -> Finding:
    one, many = fraction(_broken_by(sample, fgsm(attack.threat))), fraction(broken)
    limit = f"one step may not lead by more than {POINTS:.0%}"
    evidence = f"one step of eps breaks {one:.1%} of the sample, the reference attack {many:.1%} ({limit})"
    return finding("one_step", one <= many + POINTS, evidence, POINTS, one_step=one, reference=many)


def _more(check: str, what: str, broken: Tensor, broken_by_more: Tensor) -> Finding:
    before, after = fraction(broken), fraction(broken_by_more)
    evidence = f"{what} break {after:.1%} of the sample instead of {before:.1%} (at most {POINTS:.0%} more)"
    return finding(check, after - before <= POINTS, evidence, POINTS, before=before, after=after)


def _step_size(sample: Sample, attack: PGD, broken: Tensor) -> Finding:
    by: dict[float, float] = {}
    for factor in STEP_SIZES:
        step_size = min(attack.step_size * factor, 2 * attack.threat.eps)
        by[factor] = fraction(_broken(sample.trajectory(replace(attack, step_size=step_size))))
    factor, best, own = max(by, key=by.__getitem__), max(by.values()), fraction(broken)
    evidence = f"steps {factor:g} times as long break {best:.1%} of the sample instead of {own:.1%} (at most {POINTS:.0%} more)"
    return finding("step_size", best - own <= POINTS, evidence, POINTS, own=own, best=best, factor=factor)


def _losses(sample: Sample, attack: PGD, broken: Tensor) -> Finding:
    def broken_with(loss: losses.Loss) -> float:
        return fraction(broken if attack.loss is loss else _broken(sample.trajectory(replace(attack, loss=loss))))

    entropy, margin = broken_with(losses.cross_entropy), broken_with(losses.margin)
    evidence = f"cross-entropy breaks {entropy:.1%} of the sample, margin {margin:.1%} (at most {POINTS:.0%} apart)"
    return finding("losses", abs(entropy - margin) <= POINTS, evidence, POINTS, cross_entropy=entropy, margin=margin)


def _converged(margins: Tensor) -> Finding:
    correct = margins[:, ~_broken(margins)]
    start, late, end = correct[0], correct[3 * (len(correct) - 1) // 4], correct[-1]
    gained, gained_late = ((end - since).mean().item() if correct.shape[1] else 0.0 for since in (start, late))
    share = gained_late / gained if gained > 0 else 0.0
    gain = f"{share:.1%} of what the margin gains on the way it gains in the last quarter"
    return finding("converged", share <= RISING, f"on the images still correct {gain} (at most {RISING:.0%})", RISING, share=share)


def _path(margins: Tensor) -> Finding:
    share = fraction(_broken(margins) & (margins[-1] <= 0))
    evidence = f"{share:.1%} of the sample is broken on the way but not at the end (at most {POINTS:.0%})"
    return finding("path", share <= POINTS, evidence, POINTS, share=share)


def _eps_curve(sample: Sample, attack: PGD, broken: Tensor) -> tuple[EpsPoint, ...]:
    """Accuracy of the sample at several radii and at the one where every image is within reach of every other."""
    at, everything = {0.0: torch.zeros_like(broken)}, attack.threat.covering(sample.x[0].numel())
    for factor in RADII:
        if factor * attack.threat.eps < everything.eps:
            at[factor * attack.threat.eps] = broken if factor == 1 else _broken(sample.trajectory(attack.scaled(factor)))
    attack_on_everything = PGD(everything, step_size=0.1 * everything.eps, steps=attack.steps, loss=losses.margin)
    at[everything.eps] = _broken_by(sample, attack_on_everything)
    return tuple(EpsPoint(eps=float(eps), top1=1 - fraction(rows), examples=len(rows)) for eps, rows in at.items())


def _eps(curve: Sequence[EpsPoint], y: Tensor) -> Finding:
    chance = fraction(y == y.mode().values)  # of always the same class
    rise, end = max(later.top1 - earlier.top1 for earlier, later in pairwise(curve)), curve[-1].top1
    points = ", ".join(f"{point.top1:.0%} at {point.eps:.3g}" for point in curve)
    limit = f"it may not rise by more than {POINTS:.0%}, and at {curve[-1].eps:.3g} must be at most that"
    evidence = f"accuracy on the sample against the radius: {points} ({limit})"
    return finding("eps", rise <= POINTS and end <= POINTS, evidence, POINTS, forbids_trust=end > chance + POINTS, rise=rise, at_end=end)


def _noise(sample: Sample, active: Sample, threat: Threat) -> Finding:
    streams, broken = active.streams("noise"), torch.zeros_like(active.y, dtype=torch.bool)
    for _ in range(NOISES if len(active.x) else 0):
        for x_adv in (threat.random_start(active.x, streams), BlockStart().draw(threat, active.x, streams)):
            broken |= active.broken(x_adv)
    return _besides("noise", "random noise breaks", sample, broken)


def _black_box(sample: Sample, active: Sample, threat: Threat) -> Finding:
    broken = _broken_by(active, Square(threat, queries=QUERIES))
    return _besides("black_box", "Square, which sees no gradient, breaks", sample, broken)


def _transfer(sample: Sample, active: Sample, threat: Threat, name: str, source: nn.Module) -> Finding:
    x_adv = transfer_attack(threat)(source, active.x, active.y, generator=active.streams(f"transfer {name}"))
    return _besides("transfer", f"images made against {name} break", sample, active.broken(x_adv), of=name)


def _besides(check: str, what: str, sample: Sample, broken: Tensor, of: str = "") -> Finding:
    """How much is broken of what the reference attack left correct, as a fraction of the sample."""
    share = int(broken.sum()) / len(sample.x)
    evidence = f"{what} {share:.1%} of the sample that the reference attack left correct (at most {POINTS:.0%})"
    return finding(check, share <= POINTS, evidence, POINTS, of=of, share=share)
