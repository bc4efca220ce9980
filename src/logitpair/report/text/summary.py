"""The head of a page: what its runs' evaluations and audits show, in plain words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from logitpair.evaluation.confidence import Share
from logitpair.report.records import Run
from logitpair.report.text.format import LINF, Ball, balls, change_within, curve_norm, interval, listing, percent
from logitpair.storage.results import Accuracy, AuditResults, EvaluationResults

Evaluated = tuple[str, EvaluationResults]
Audited = tuple[str, AuditResults]
_UNEVALUATED = "Accuracy during training says little about robustness: only an evaluation shows how robust a network is."
_AUDIT_CAUTION = (
    "Also after an audit robust accuracy is an upper bound: an image counts as robust when no search found a way to fool the network, "
    "and a search yet unknown may. What an audit broke is certain, for every such image was checked again. “Trustworthy” says that "
    "nothing known speaks against the number. The intervals tell what another draw of test images could change; they do not cover the "
    "luck of the training seed."
)


@dataclass(frozen=True)
class Summary:
    """The head of the page."""

    headline: str  # the one thing to remember
    paragraph: str  # the numbers behind it
    caution: str  # how far they can be trusted
    doubts: tuple[str, ...] = ()  # what in these very results speaks against them


def summarize(runs: Sequence[Run]) -> Summary:
    """The head of the page about these runs."""
    evaluated = sorted(((run.name, run.main) for run in runs if run.main), key=lambda pair: pair[1].worst_case.top1, reverse=True)
    audited = sorted(((run.name, run.audit) for run in runs if run.audit), key=lambda pair: pair[1].robust_accuracy.top1, reverse=True)
    pending = [run.name for run in runs if not run.main and not run.audit]
    if len(pending) == len(runs):
        shown = "one run" if len(runs) == 1 else f"{len(runs)} runs"
        return Summary(f"{listing(pending)}: not evaluated yet", f"This page shows the training of {shown}.", _UNEVALUATED)
    transfers = [(run.name, run.transfer) for run in runs if run.transfer and run.transfer is not run.main]
    doubts = tuple(dict.fromkeys(doubt for name, evaluation in [*evaluated, *transfers] for doubt in _doubts(name, evaluation)))
    differing = differences([evaluation for _, evaluation in evaluated])
    if audited:
        unaudited = [(run.name, run.main) for run in runs if run.main and not run.audit]
        (headline, paragraph), caution = _audits(audited, unaudited), _AUDIT_CAUTION
    else:
        headline, paragraph = _unlike(evaluated, differing) if differing else _ranking(evaluated)
        caution = _caution([evaluation for _, evaluation in evaluated])
    return Summary(headline, paragraph + (f" Not evaluated yet: {listing(pending)}." if pending else ""), caution, doubts)


def differences(results: Sequence[EvaluationResults] | Sequence[AuditResults]) -> list[str]:
    """In what evaluations, or audits, differ so that their numbers do not compare."""
    evaluations = [record for record in results if isinstance(record, EvaluationResults)]
    facets = {
        "data": {record.data and record.data.name for record in results},
        "number of images": {record.examples for record in results},
        "eps": {tuple(balls(record)) if isinstance(record, EvaluationResults) else Ball.of(record.threat) for record in results},
        "attacks": {repr(list(record.parameters.items())) for record in evaluations},
        "whether attacks were run in turn": {bool(record.in_turn) for record in evaluations},
    }
    return [name for name, values in facets.items() if len(values) > 1]


def lead(first: Accuracy | Share, second: Accuracy | Share) -> tuple[float, float, float]:
    """The difference of two accuracies and its 95% interval (Newcombe 1998, method 10), from those of the two.

    Runs evaluated on the same images are treated as if on different ones, which makes the interval wider rather than narrower.
    """
    difference, (low, high), (other_low, other_high) = first.top1 - second.top1, first.ci95, second.ci95
    below = math.hypot(first.top1 - low, other_high - second.top1)
    above = math.hypot(high - first.top1, second.top1 - other_low)
    return difference, difference - below, difference + above


def _images(results: EvaluationResults | AuditResults) -> str:
    return f"{results.examples:,} test images" + (f" ({results.data.name})" if results.data else "")


def _ranking(ranked: Sequence[Evaluated]) -> tuple[str, str]:
    """Headline and paragraph about runs that compare, the best first."""
    (name, best), *others = ranked
    paragraph = (
        f"Of {_images(best)}, {name} classifies {percent(best.worst_case.top1)} correctly "
        f"{change_within(balls(best)) if balls(best) else 'under attack'} "
        f"(95% interval {interval(best.worst_case)}), and {percent(best.clean.top1)} when nothing is changed."
    )
    if not others:
        return f"{name} keeps {percent(best.worst_case.top1)} of its answers right under attack", paragraph
    next_name, second = others[0][0], others[0][1].worst_case
    points, low, high = (100 * value for value in lead(best.worst_case, second))
    chance = f"95% interval {low:.1f} to {high:.1f}".replace("-", "\N{MINUS SIGN}")
    if low > 0:
        headline = f"{name} is most robust to the attack: {percent(best.worst_case.top1)}, {points:.1f} points ahead of {next_name}"
        paragraph += f" Next comes {next_name} with {percent(second.top1)}: a lead of {points:.1f} percentage points ({chance})."
    else:
        headline = f"{name} and {next_name} are about equally robust to the attack"
        paragraph += (
            f" {next_name} keeps {percent(second.top1)}; the difference of {points:.1f} percentage points ({chance}) may be chance."
        )
    if rest := [f"{other} keeps {percent(evaluation.worst_case.top1)}" for other, evaluation in others[1:]]:
        paragraph += f" Under the same attack {listing(rest)}."
    return headline, paragraph


def _unlike(ranked: Sequence[Evaluated], differing: list[str]) -> tuple[str, str]:
    """Headline and paragraph about runs that do not compare."""
    each: list[str] = []
    for name, results in ranked:
        eps = f" at eps = {listing(list(map(str, balls(results))))}" if balls(results) else ""
        each.append(f"{name} keeps {percent(results.worst_case.top1)} under attack{eps} and {percent(results.clean.top1)} without")
    paragraph = f"These evaluations differ in {listing(differing)}, so their numbers do not rank the runs. {'; '.join(each)}."
    return f"{len(ranked)} runs, evaluated under different conditions", paragraph


def _caution(evaluations: Sequence[EvaluationResults]) -> str:
    attacks = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.parameters))
    return (
        f"Robust accuracy is only an upper bound. An image counts as robust when the attack{'s' if len(attacks) > 1 else ''} used here "
        f"({listing(attacks)}) found no way to fool the network, so a stronger attack can only lower the number. The intervals tell what "
        "another draw of test images could change; they do not cover the luck of the training seed."
    )


def _doubts(name: str, evaluation: EvaluationResults) -> list[str]:
    """Signs that the white-box attack was too weak, which a true robust accuracy cannot show."""
    white_box = evaluation.worst_case.top1
    doubts = [
        f"{name}: images made against {source} fool it more often ({percent(black_box.top1)} left) than images made against "
        f"itself ({percent(white_box)} left). The white-box attack misses what exists: try a stronger one."
        for source, black_box in evaluation.black_box.items()
        if black_box.top1 < white_box
    ]
    beyond = [point for point in evaluation.curve if point.eps >= 0.5 and point.ci95[0] > 1 / evaluation.classes]
    beyond = beyond if curve_norm(evaluation) == LINF else []  # elsewhere the radius that reaches grey depends on the number of pixels
    return doubts + [
        f"{name}: at eps = {Ball(point.eps)} every image can be turned into plain grey, yet {percent(point.top1)} still count as "
        "robust. The attack fails for a reason other than robustness."
        for point in beyond[:1]
    ]


def _audits(audited: Sequence[Audited], unaudited: Sequence[Evaluated]) -> tuple[str, str]:
    """Headline and paragraph of a page on which some runs are audited, at least one, and others perhaps not."""
    differing = differences([audit for _, audit in audited])
    paragraph = " ".join(_audit_sentence(name, audit) for name, audit in audited)
    if differing:
        paragraph += f" These audits differ in {listing(differing)}, so their numbers do not rank the runs."
    if unaudited:
        kept = listing(
            [f"{name} keeps {percent(evaluation.worst_case.top1)} under {_all_or_worst(evaluation)}" for name, evaluation in unaudited]
        )
        numbers = "these numbers" if len(unaudited) > 1 else "this number"
        paragraph += f" Not audited: {kept}. An audit may lower {numbers}, so do not rank audited runs and others against each other."
    overestimated = [(name, audit) for name, audit in audited if audit.verdict == "overestimated"]
    if overestimated:
        names = listing([name for name, _ in overestimated])
        left = listing([percent(audit.robust_accuracy.top1) for _, audit in overestimated])
        looks = f"looks {percent(overestimated[0][1].reference.top1)} robust and is" if len(overestimated) == 1 else "look robust and are"
        return f"{names} {looks} not: {left} under audit", paragraph
    if unaudited or differing:
        names = [name for name, _ in unaudited]
        each = [f"{name} keeps {_at_most(audit)} under audit" for name, audit in audited]
        each += [f"{listing(names)} {'are' if len(names) > 1 else 'is'} not audited"] if names else []
        return "; ".join(each), paragraph
    return _most_robust(audited), paragraph


def _all_or_worst(evaluation: EvaluationResults) -> str:
    return "its worst attack" if evaluation.white_box else "all its attacks"


def _most_robust(audited: Sequence[Audited]) -> str:
    (name, best), *others = audited
    inconclusive = [name for name, audit in audited if audit.verdict == "inconclusive"]
    if not others:
        return f"{name} keeps {_at_most(best)} of its answers right under audit{'; the audit is inconclusive' if inconclusive else ''}"
    next_name, second = others[0]
    points, low, _ = lead(best.robust_accuracy, second.robust_accuracy)
    ahead = f"{name} is most robust under audit: {_at_most(best)}, {100 * points:.1f} points ahead of {next_name}"
    headline = ahead if low > 0 else f"{name} and {next_name} are about equally robust under audit"
    return headline + (f"; inconclusive: {listing(inconclusive)}" if inconclusive else "")


def _at_most(audit: AuditResults) -> str:
    return ("at most " if audit.verdict == "inconclusive" else "") + percent(audit.robust_accuracy.top1)


def _audit_sentence(name: str, audit: AuditResults) -> str:
    ball, robust = Ball.of(audit.threat), audit.robust_accuracy
    change = "" if ball is None else f" {change_within([ball])}"
    return (
        f"Of {_images(audit)}, {name} classifies {percent(robust.top1)} (95% interval {interval(robust)}) correctly{change}, whatever "
        f"search of the audit is tried; {percent(audit.reference.top1)} under the reference attack alone, and "
        f"{percent(audit.clean.top1)} when nothing is changed. Verdict: {audit.verdict}."
    )
