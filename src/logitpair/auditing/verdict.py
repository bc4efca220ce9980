"""From the audit's numbers to one word, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from logitpair.auditing.checks.finding import Finding
from logitpair.auditing.scheduler import Stop

MATERIAL = 0.03  # a protocol's number that is too high by less is imprecise, not masked
MASKING = frozenset(  # checks that a network whose gradient is whole passes
    [
        "logit_scale",
        "gradients_cross_entropy",
        "gradients_margin",
        "resolution",
        "one_step",
        "restarts",
        "step_size",
        "losses",
        "eps",
        "noise",
        "black_box",
    ]
)
Verdict = Literal["trustworthy", "overestimated", "inconclusive"]


def verdict(protocol: Mapping[str, Any], audited: Mapping[str, Any], findings: Sequence[Finding], stop: Stop) -> tuple[Verdict, str]:
    """The word, and the reason in one sentence.

    ``overestimated``: the protocol's number is above the interval of the audit's and by at least ``MATERIAL``. PGD leaves a point or two
    more than the best searches on honest networks too.

    Args:
        protocol: the accuracy under the protocol's attack.
        audited: that which the audit left of the same images.
        findings: of all checks.
        stop: how the search ended.
    """
    low, high = audited["ci95"]
    ours, theirs = f"{audited['top1']:.2%} ({low:.2%} to {high:.2%})", f"{protocol['top1']:.2%}"
    gap = round(protocol["top1"] - audited["top1"], 9)  # 0.94 - 0.91 is a little less than 0.03
    failed = [finding.check for finding in findings if not finding.passed]
    if blocking := [finding.check for finding in findings if finding.blocks and not finding.passed]:
        return "inconclusive", f"{', '.join(blocking)} failed, so that no attack's number can be believed (protocol {theirs}, audit {ours})"
    if protocol["top1"] > high and gap >= MATERIAL:
        masking = [check for check in failed if check in MASKING]
        suggest = "suggests" if len(masking) == 1 else "suggest"
        why = f"it may follow a masked gradient, as {', '.join(masking)} {suggest}" if masking else "it is too weak"
        return "overestimated", f"the protocol leaves {theirs} standing, the audit {ours} of the same {audited['total']:,} images: {why}"
    if protocol["top1"] < low:
        return "inconclusive", f"the protocol left {theirs}, less than the audit's {ours}: give a larger budget, or compare the images"
    if not stop.settled:
        return "inconclusive", f"{stop.reason} before every search had stopped finding; give a larger budget"
    but = f", though {', '.join(failed)} failed" if failed else " and every check passed"
    if protocol["top1"] > high:
        return "trustworthy", f"the protocol's {theirs} is {100 * gap:.1f} points above the audit's {ours}: quote the latter{but}"
    return "trustworthy", f"the protocol's {theirs} is within the interval of the audit's {ours}{but}"
