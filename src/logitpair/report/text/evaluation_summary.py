"""What the numbers say, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from logitpair.report.records.evaluation import Evaluation
from logitpair.report.records.run import Run
from logitpair.report.text.audit_summary import CAUTION, summarize_audits
from logitpair.report.text.format import interval, listing, percent, radius
from logitpair.report.text.lead import lead


@dataclass(frozen=True)
class Summary:
    """The head of the page.

    Args:
        headline: the one thing to remember.
        paragraph: the numbers behind it.
        caution: how far they can be trusted.
        doubts: what in these very results speaks against them.
    """

    headline: str
    paragraph: str
    caution: str
    doubts: tuple[str, ...]


def summarize(runs: Sequence[Run]) -> Summary:
    """The head of the page about these runs."""
    ranked = sorted(
        ((run.name, run.main) for run in runs if run.main), key=lambda pair: pair[1].white_box.worst.accuracy.top1, reverse=True
    )
    if not ranked and not any(run.audit for run in runs):
        several = len(runs) > 1
        return Summary(
            f"{listing([run.name for run in runs])}: not evaluated yet",
            f"This page shows the training of {len(runs)} runs." if several else "This page shows the training of one run.",
            "Accuracy during training says little about robustness: only an evaluation shows what a network withstands.",
            (),
        )
    transfers = [(run.name, run.transfer) for run in runs if run.transfer and run.transfer is not run.main]
    doubts = [doubt for name, evaluation in [*ranked, *transfers] for doubt in _doubts(name, evaluation)]
    doubts = list(dict.fromkeys(doubts))
    if any(run.audit for run in runs):
        return Summary(*summarize_audits(runs), CAUTION, tuple(doubts))
    differing = differences([evaluation for _, evaluation in ranked])
    headline, paragraph = _unlike(ranked, differing) if differing else _ranking(ranked)
    pending = [run.name for run in runs if not run.main]
    if pending:
        paragraph += f" Not evaluated yet: {listing(pending)}."
    return Summary(headline, paragraph, _caution([evaluation for _, evaluation in ranked]), tuple(doubts))


def differences(evaluations: Sequence[Evaluation]) -> list[str]:
    """In what the evaluations differ so that their numbers do not compare."""
    facets = {
        "data": {evaluation.data for evaluation in evaluations},
        "number of images": {evaluation.examples for evaluation in evaluations},
        "eps": {evaluation.eps for evaluation in evaluations},
        "attacks": {repr([(a.name, a.parameters) for a in evaluation.white_box.attacks]) for evaluation in evaluations},
    }
    return [name for name, values in facets.items() if len(values) > 1]


def _ranking(ranked: Sequence[tuple[str, Evaluation]]) -> tuple[str, str]:
    """Headline and paragraph about runs that compare, the best first."""
    (name, best), *others = ranked
    standing = best.white_box.worst.accuracy
    change = f"when each pixel may be changed by up to {listing([radius(eps) for eps in best.eps])}" if best.eps else "under attack"
    images = f"{best.examples:,} test images" + (f" ({best.data})" if best.data else "")
    paragraph = (
        f"Of {images}, {name} classifies {percent(standing.top1)} correctly {change} "
        f"(95% interval {interval(standing.low, standing.high)}), and {percent(best.clean.top1)} when nothing is changed."
    )
    if not others:
        return f"{name} keeps {percent(standing.top1)} of its answers right under attack", paragraph
    next_name, second = others[0][0], others[0][1].white_box.worst.accuracy
    points, low, high = (100 * value for value in lead(standing, second))
    span = f"95% interval {low:.1f} to {high:.1f}".replace("-", "\N{MINUS SIGN}")
    if low > 0:
        headline = f"{name} withstands the attack best: {percent(standing.top1)}, {points:.1f} points ahead of {next_name}"
        paragraph += f" Next comes {next_name} with {percent(second.top1)}: a lead of {points:.1f} percentage points ({span})."
    else:
        headline = f"{name} and {next_name} withstand the attack about equally well"
        paragraph += f" {next_name} keeps {percent(second.top1)}; the difference of {points:.1f} percentage points ({span}) may be chance."
    if rest := others[1:]:
        kept = listing([f"{other} keeps {percent(evaluation.white_box.worst.accuracy.top1)}" for other, evaluation in rest])
        paragraph += f" Under the same attack {kept}."
    return headline, paragraph


def _unlike(ranked: Sequence[tuple[str, Evaluation]], differing: list[str]) -> tuple[str, str]:
    """Headline and paragraph about runs that do not compare."""
    each = [
        f"{name} keeps {percent(e.white_box.worst.accuracy.top1)} under attack"
        + (f" at eps = {listing([radius(eps) for eps in e.eps])}" if e.eps else "")
        + f" and {percent(e.clean.top1)} without"
        for name, e in ranked
    ]
    paragraph = f"These evaluations differ in {listing(differing)}, so their numbers do not rank the runs. {'; '.join(each)}."
    return f"{len(ranked)} runs, evaluated under different conditions", paragraph


def _caution(evaluations: Sequence[Evaluation]) -> str:
    attacks = list(dict.fromkeys(attack.name for evaluation in evaluations for attack in evaluation.white_box.attacks))
    plural = len(attacks) > 1
    return (
        f"Robust accuracy is only an upper bound. An image counts as withstood when the attack{'s' if plural else ''} used here "
        f"({listing(attacks)}) found no way to fool the network; a stronger attack can only lower the number. Networks trained with "
        "logit pairing have looked robust before and fallen to longer attacks (arXiv 1807.10272 and 1810.12042). The intervals tell "
        "what another draw of test images could change; they do not cover the luck of the training seed."
    )


def _doubts(name: str, evaluation: Evaluation) -> list[str]:
    """Signs that the white-box attack was too weak, which a true robust accuracy cannot show."""
    doubts: list[str] = []
    white_box = evaluation.white_box.worst.accuracy
    for source, suite in evaluation.black_box.items():
        black_box = suite.worst.accuracy
        if black_box.top1 < white_box.top1:
            doubts.append(
                f"{name}: images made against {source} fool it more often ({percent(black_box.top1)} left) than images made against "
                f"itself ({percent(white_box.top1)} left). The white-box attack misses what exists: try a stronger one."
            )
    guessing = 1 / len(evaluation.class_names)
    for eps, accuracy in evaluation.curve:
        if eps >= 0.5 and accuracy.low > guessing:
            doubts.append(
                f"{name}: at eps = {radius(eps)} every image can be turned into plain grey, yet {percent(accuracy.top1)} still count as "
                "withstood. The attack fails for a reason other than robustness."
            )
            break
    return doubts
