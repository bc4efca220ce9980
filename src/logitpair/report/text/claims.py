"""What the paper claims of a table, in sentences beside what our networks say of it. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from logitpair.evaluation.confidence import Share, percent
from logitpair.report.text.format import arguments, listing, span
from logitpair.report.text.summary import lead
from logitpair.reproduction.paper import COLUMNS, Claim, Target
from logitpair.reproduction.recorded_row import RecordedRow, mean
from logitpair.storage.results import Accuracy


def of_claim(claim: Claim, target: Target, measured: Mapping[str, RecordedRow]) -> str:
    """A claim of the paper beside what our networks of the same seeds, by method, say of it."""
    rows = {row.method: row for row in target.rows}
    better, worse = rows[claim.better], rows[claim.worse]
    said = f"{better.method} has a higher accuracy than {worse.method}, {COLUMNS[claim.column]}"
    numbers = [f"{row.paper[claim.column]:.1f}%" for row in (better, worse) if claim.column in row.paper]
    paper = f" In the paper {' against '.join(numbers)}." if len(numbers) == 2 else ""
    ours = [measured[row.method].accuracies(target, row, claim.column) for row in (better, worse)]
    audits = [measured[row.method].audited() for row in (better, worse)]
    seeds, every = sorted(ours[0].keys() & ours[1].keys()), ours[0].keys() | ours[1].keys()
    first, second = (mean(of[seed] for seed in seeds) for of in ours)
    if not (first and second):
        return f"{said}.{paper} Not run here."
    said += f": {_verdict(first, second)}.{paper} Here{_under(seeds, every)} {_difference(first, second)}."
    audited = sorted(audits[0].keys() & audits[1].keys())
    left, others_left = (mean(of[seed] for seed in audited) for of in audits)
    if claim.column != "white_box" or not (left and others_left):
        return said
    of = "" if left.total == others_left.total else f", of {left.total:,} images and of {others_left.total:,}"
    return f"{said} Under the audit{_under(audited, every)} {_verdict(left, others_left)}: {_difference(left, others_left)}{of}."


def of_transfer(target: Target, attack: str, measured: Mapping[str, RecordedRow]) -> Iterator[str]:
    """Whether the last source's images leave less than those of each other one."""
    (row,) = target.rows
    left = [mean(measured[row.method].under_images_of(source, attack)) for source in target.sources]
    *others, last = zip(target.sources, left, strict=True)
    for name, found in others:
        said = f"{row.method} has a higher accuracy on images made against {name} than on those made against {last[0]}"
        if found and last[1]:
            yield f"{said}: {_verdict(found, last[1])}. Here {_difference(found, last[1])}."
        else:
            yield f"{said}. Not run here."
    said = f"{attack} on {last[0]} leaves less of {row.method} than every attack on every other source"
    if (worst := measured[row.method].under_worst_images_of([name for name, _ in others])) and last[1]:
        found, names = mean(each for _, each in worst) or last[1], " or ".join(dict.fromkeys(name for name, _ in worst))
        yield f"{said}: {_verdict(found, last[1])}. Here {names} leaves {_text(found)} and {attack} on {last[0]} {_text(last[1])}."
    else:
        yield f"{said}. Not run here."


def of_white_box(method: str, measured: RecordedRow) -> str:
    """What a white-box number is the worst of, how far the audits lower it, and what they judged; empty where either is missing."""
    seeds = sorted(measured.evaluations.keys() & measured.audits.keys())
    suites, audits = [measured.evaluations[seed] for seed in seeds], [measured.audits[seed] for seed in seeds]
    white, audited = mean(each.white_box for each in suites if each.white_box), mean(audit.robust_accuracy for audit in audits)
    if not (white and audited):
        return ""
    which = f", seed{'s' * (len(seeds) > 1)} {listing(list(map(str, seeds)))}" if len(seeds) < len(measured.evaluations) else ""
    worst = listing(list(dict.fromkeys(each.white_box.attack for each in suites if each.white_box)))
    union = mean(each.white_box_union for each in suites if each.white_box_union)
    alone = f" under {worst}, the worst of {len(suites[0].attacks)} attacks, which together leave {_text(union)}" if union else ""
    left = f"{_text(white)} of {white.total:,} images{alone if len(suites[0].attacks) > 1 else ''}"
    counts = sorted({audit.examples for audit in audits})
    images = "the same" if counts == [white.total] else f"the first {listing([f'{count:,}' for count in counts])}"
    ended = "" if all(audit.converged for audit in audits) else ", without coming to the end of its search"
    steps = arguments(audits[0].reference.parameters).get("steps", "some")
    judged = mean(audit.reference for audit in audits) or white
    tried = listing([f"{total:,}" for total in sorted({audit.reference.total for audit in audits})])
    verdicts = listing(list(dict.fromkeys(audit.verdict for audit in audits)))
    on = f"Its verdict is on an untargeted PGD of {steps} steps, which leaves {_text(judged)} of {tried} images: {verdicts}"
    return f"{method}, white box{which}: {left}; the audit leaves {_text(audited)} of {images}{ended}. {on}."


def _verdict(first: Accuracy | Share, second: Accuracy | Share) -> str:
    """What our numbers say of a claim that the first is above the second; other trainings may say otherwise."""
    _, low, high = lead(first, second)
    if low <= 0 <= high:
        return "the difference of these networks is not significant"
    return "it holds for these networks" if low > 0 else "for these networks it is the other way round"


def _difference(first: Accuracy | Share, second: Accuracy | Share) -> str:
    points, low, high = (f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}") for value in lead(first, second))
    return f"{_text(first)} against {_text(second)}, a difference of {points} points ({low} to {high})"


def _under(seeds: Sequence[int], every: Collection[int]) -> str:
    """Which seeds these are, where they are not every one."""
    return f", under seed{'s' * (len(seeds) > 1)} {listing(list(map(str, seeds)))} of both," if set(seeds) != set(every) else ""


def _text(found: Accuracy | Share) -> str:
    return f"{percent(found.top1, 1)}% ({span(found.ci95)})"
