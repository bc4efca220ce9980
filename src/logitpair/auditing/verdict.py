"""From the audit's numbers to one word, and why. A pure decision."""

from collections.abc import Sequence

from logitpair.auditing.scheduler import Stop
from logitpair.evaluation.confidence import wilson
from logitpair.storage.results import Accuracy, Finding, Verdict

MATERIAL = 0.03  # a reference attack's number that is too high by less is imprecise, not masked
PROVEN = 0.01  # what the gap of two searches of the same images must be at least with 95% confidence, so that a few images are no verdict
MASKING = {  # checks that a masked gradient fails, of the network and of the attack
    *("logit_scale", "gradients_cross_entropy", "gradients_margin", "resolution"),
    *("one_step", "restarts", "step_size", "losses", "eps", "noise", "black_box", "strength"),
}


def decide(
    reference: Accuracy, audited: Accuracy, findings: Sequence[Finding], stop: Stop, examples: int, undecided: int | None = None
) -> tuple[Verdict, str]:
    """The verdict, and the reason in one sentence; ``reference`` and ``audited`` are of the same images, of all ``examples`` or fewer.

    ``overestimated``: of the same images the audit broke so many more that the reference attack's number is at least ``MATERIAL`` too high.
    PGD leaves a point or two more than the best searches on honest networks too. ``trustworthy`` needs a search that nothing blinded and
    that is not expected to break ``MATERIAL`` more; or a certificate that leaves fewer images ``undecided``, neither broken nor certified:
    then no search however strong would break more, and none needs to be trusted.
    """
    theirs, ours = f"{reference.top1:.2%}", f"{audited.top1:.2%}"
    gap, (low, high) = _paired(reference.correct - audited.correct, audited.total)
    failed = [finding.check for finding in findings if not finding.passed]
    masking = [check for check in failed if check in MASKING]
    untested = any(finding.check == "strength" and finding.measured["found"] is None for finding in findings)
    if blocking := [finding.check for finding in findings if finding.blocks and not finding.passed]:
        numbers = f"reference attack {theirs}, audit {ours}"
        return "inconclusive", f"{', '.join(blocking)} failed, so that no attack's number can be believed ({numbers})"
    if gap >= MATERIAL and low >= PROVEN:
        suggest = "suggests" if len(masking) == 1 else "suggest"
        why = f"it may follow a masked gradient, as {', '.join(masking)} {suggest}" if masking else "it is too weak"
        left = f"the reference attack leaves {theirs} correct, the audit {ours} of the same {audited.total:,} images"
        return "overestimated", f"{left}, which is {100 * gap:.1f} points less ({100 * low:.1f} to {100 * high:.1f}): {why}"
    missed, (surely_missed, _) = _paired(audited.correct - reference.correct, audited.total)
    if surely_missed >= PROVEN:
        left = f"the reference attack left {theirs}, {100 * missed:.1f} points less than the audit's {ours} of the same images"
        return "inconclusive", f"{left}: give a larger budget, or compare the images"
    apart = f"{100 * (gap or missed):.1f} points {'above' if gap else 'below'}"
    numbers = f"the reference attack's {theirs} is {apart} the audit's {ours}" if gap or missed else f"both leave {ours}"
    proven = undecided is not None and undecided < MATERIAL * examples
    if reference.top1 >= MATERIAL and not proven:  # what is as good as 0 cannot be too high
        if blinding := [finding.check for finding in findings if finding.forbids_trust]:
            why = f"{', '.join(blinding)} failed, so that the search may be blind too"
            return "inconclusive", f"{numbers}, but {why}; rely on searches without gradients, or on the network without what hides them"
        if masking and untested:
            return "inconclusive", f"{numbers}, but {', '.join(masking)} failed, and the search's strength could not be tested"
        if stop.further_breaks >= MATERIAL * examples:
            return "inconclusive", f"{numbers}, but {stop.reason}; give a larger budget or more images"
    but = f", though {', '.join(failed)} failed" if failed else " and every check passed"
    but += "; the search's strength could not be tested" if untested else ""
    quote = "" if not gap else ": quote the latter" if audited.total == examples else ": quote the audit's number of all images"
    return "trustworthy", f"{numbers}{quote}{but}"


def bracket(certified: Accuracy | None, robust: Accuracy) -> str:
    """What a certificate adds to the reason: between which two numbers the truth lies; nothing without one."""
    if certified is None:
        return ""
    open_ = robust.correct - certified.correct
    decided = f"{100 * open_ / robust.total:.2f} points are not decided" if open_ else "every image is decided"
    return f"; robust accuracy lies between the certified {certified.top1:.2%} and the audited {robust.top1:.2%}: {decided}"


def _paired(broken: int, total: int) -> tuple[float, tuple[float, float]]:
    """Images that one search broke and another left, as a fraction of the same images, with its 95% interval; 0 where there are none.

    Of two numbers that were measured apart the difference is the least that there can be of such images, and the lower limit is theirs too.
    """
    return (broken / total, wilson(broken, total)) if broken > 0 else (0.0, (0.0, 0.0))
