"""What the audits say, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from logitpair.report.records.audit import Audit
from logitpair.report.records.evaluation import Accuracy
from logitpair.report.records.run import Run
from logitpair.report.text.format import interval, listing, percent, radius
from logitpair.report.text.lead import lead

Audited = tuple[str, Audit]
CAUTION = (
    "Also after an audit robust accuracy is an upper bound: an image counts as withstood when no search found a way to fool the network, "
    "and a search yet unknown may. What an audit broke is certain, for every such image was checked again. “Trustworthy” says that "
    "nothing known speaks against the number. The intervals tell what another draw of test images could change; they do not cover the "
    "luck of the training seed."
)


def summarize_audits(runs: Sequence[Run]) -> tuple[str, str]:
    """Headline and paragraph of a page on which some runs are audited, at least one, and others perhaps not."""
    audited = sorted(((run.name, run.audit) for run in runs if run.audit), key=lambda pair: pair[1].robust.top1, reverse=True)
    unaudited = [(run.name, run.main.white_box.worst.accuracy) for run in runs if run.main and not run.audit]
    differing = _differences([audit for _, audit in audited])
    overestimated = [(name, audit) for name, audit in audited if audit.verdict == "overestimated"]
    if overestimated:
        headline = _fallen(overestimated)
    elif unaudited or differing:
        headline = _each(audited, [name for name, _ in unaudited])
    else:
        headline = _best(audited)
    paragraph = " ".join(_sentence(name, audit) for name, audit in audited)
    if differing:
        paragraph += f" These audits differ in {listing(differing)}, so their numbers do not rank the runs."
    if unaudited:
        kept = listing([f"{name} keeps {percent(accuracy.top1)} under its worst attack" for name, accuracy in unaudited])
        paragraph += f" Not audited: {kept}. An audit may lower {'these numbers' if len(unaudited) > 1 else 'this number'}, so do not rank "
        paragraph += "audited runs and others against each other."
    pending = [run.name for run in runs if not run.main and not run.audit]
    return headline, f"{paragraph} Not evaluated yet: {listing(pending)}." if pending else paragraph


def _fallen(overestimated: Sequence[Audited]) -> str:
    names, left = [name for name, _ in overestimated], [percent(audit.robust.top1) for _, audit in overestimated]
    if len(names) == 1:
        return f"{names[0]} looks {percent(overestimated[0][1].protocol.accuracy.top1)} robust and is not: {left[0]} stand"
    return f"{listing(names)} look robust and are not: {listing(left)} stand"


def _each(audited: Sequence[Audited], unaudited: list[str]) -> str:
    kept = "; ".join(f"{name} keeps {_at_most(audit)} under audit" for name, audit in audited)
    return f"{kept}; {listing(unaudited)} {'are' if len(unaudited) > 1 else 'is'} not audited" if unaudited else kept


def _best(audited: Sequence[Audited]) -> str:
    (name, best), *others = audited
    if not others:
        return f"{name} keeps {_at_most(best)} of its answers right under audit" + _but(audited)
    next_name, second = others[0]
    points, low, _ = lead(best.robust, second.robust)
    if low <= 0:
        return f"{name} and {next_name} withstand the audit about equally well" + _but(audited)
    return f"{name} withstands the audit best: {_at_most(best)}, {100 * points:.1f} points ahead of {next_name}" + _but(audited)


def _but(audited: Sequence[Audited]) -> str:
    open_ones = [name for name, audit in audited if audit.verdict == "inconclusive"]
    if not open_ones:
        return ""
    return "; the audit is inconclusive" if len(audited) == 1 else f"; inconclusive: {listing(open_ones)}"


def _at_most(audit: Audit) -> str:
    return ("at most " if audit.verdict == "inconclusive" else "") + percent(audit.robust.top1)


def _sentence(name: str, audit: Audit) -> str:
    change = f" when each pixel may be changed by up to {radius(audit.eps)}" if audit.eps is not None else ""
    images = f"{audit.examples:,} test images" + (f" ({audit.data})" if audit.data else "")
    return (
        f"Of {images}, {name} classifies {_numbers(audit.robust)} correctly{change}, whatever search of the audit is tried; "
        f"{percent(audit.protocol.accuracy.top1)} under the protocol's attack alone, and {percent(audit.clean.top1)} when nothing "
        f"is changed. Verdict: {audit.verdict}."
    )


def _numbers(accuracy: Accuracy) -> str:
    return f"{percent(accuracy.top1)} (95% interval {interval(accuracy.low, accuracy.high)})"


def _differences(audits: Sequence[Audit]) -> list[str]:
    """In what the audits differ so that their numbers do not compare."""
    facets = {
        "data": {audit.data for audit in audits},
        "number of images": {audit.examples for audit in audits},
        "eps": {audit.eps for audit in audits},
    }
    return [name for name, values in facets.items() if len(values) > 1]
