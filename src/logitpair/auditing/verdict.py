"""From the audit's numbers to one word, and why. A pure decision."""

from collections.abc import Sequence

from logitpair.auditing.scheduler import Stop
from logitpair.storage.results import Accuracy, Finding, Verdict

MATERIAL = 0.03  # a reference attack's number that is too high by less is imprecise, not masked
MASKING = {  # checks that a masked gradient fails, of the network and of the attack
    *("logit_scale", "gradients_cross_entropy", "gradients_margin", "resolution"),
    *("one_step", "restarts", "step_size", "losses", "eps", "noise", "black_box"),
}


def decide(reference: Accuracy, audited: Accuracy, findings: Sequence[Finding], stop: Stop) -> tuple[Verdict, str]:
    """The verdict, and the reason in one sentence.

    ``overestimated``: the reference attack's number is above the interval of the audit's and by at least ``MATERIAL``. PGD leaves a point
    or two more than the best searches on honest networks too.
    """
    low, high = audited.ci95
    ours, theirs = f"{audited.top1:.2%} ({low:.2%} to {high:.2%})", f"{reference.top1:.2%}"
    gap = round(reference.top1 - audited.top1, 9)  # 0.94 - 0.91 is a little less than 0.03
    failed = [finding.check for finding in findings if not finding.passed]
    if blocking := [finding.check for finding in findings if finding.blocks and not finding.passed]:
        numbers = f"reference attack {theirs}, audit {ours}"
        return "inconclusive", f"{', '.join(blocking)} failed, so that no attack's number can be believed ({numbers})"
    if reference.top1 > high and gap >= MATERIAL:
        masking = [check for check in failed if check in MASKING]
        suggest = "suggests" if len(masking) == 1 else "suggest"
        why = f"it may follow a masked gradient, as {', '.join(masking)} {suggest}" if masking else "it is too weak"
        left = f"the reference attack leaves {theirs} correct, the audit {ours} of the same {audited.total:,} images"
        return "overestimated", f"{left}: {why}"
    if reference.top1 < low:
        left = f"the reference attack left {theirs}, less than the audit's {ours}"
        return "inconclusive", f"{left}: give a larger budget, or compare the images"
    if not stop.converged:
        return "inconclusive", f"{stop.reason} before every search had stopped finding; give a larger budget"
    but = f", though {', '.join(failed)} failed" if failed else " and every check passed"
    if reference.top1 > high:
        return "trustworthy", f"the reference attack's {theirs} is {100 * gap:.1f} points above the audit's {ours}: quote the latter{but}"
    return "trustworthy", f"the reference attack's {theirs} is within the interval of the audit's {ours}{but}"
