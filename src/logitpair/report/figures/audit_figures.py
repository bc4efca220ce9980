"""The charts of one audit: what stood after each search, what its protocol's restarts reached, and what it leaves at other radii."""

from __future__ import annotations

import numpy as np

from logitpair.report.figures.bar_chart import Bars, draw_bars
from logitpair.report.figures.histogram import Histogram, draw_histogram
from logitpair.report.figures.line_chart import PANEL, STYLES, Chart, Series, Size, draw
from logitpair.report.records.audit import Audit
from logitpair.report.text.format import percent, radius, whole_percent

_KEYS = (("clean", "clean"), ("adversarial", "under the protocol"), ("total", "after the audit"))


def accuracy_bars(audit: Audit, *, width: float = PANEL[0]) -> Bars:
    """Accuracy without attack, under the protocol and after the audit; after it with 8 bits a pixel too, where that differs."""
    rows = [("clean", "clean", audit.clean), ("protocol", "adversarial", audit.protocol.accuracy), ("audit", "total", audit.robust)]
    if audit.robust_8_bit.correct != audit.robust.correct:
        rows.append(("audit, pictures of 8 bits", "total", audit.robust_8_bit))
    description = ", ".join(f"{label} {percent(accuracy.top1)}" for label, _, accuracy in rows)
    return draw_bars(rows, title="The protocol and the audit", description=f"{description}.", keys=_KEYS, width=width)


def convergence_chart(audit: Audit, *, size: Size = PANEL) -> Chart | None:
    """Accuracy against the gradients an image had cost, a point a search; None where no image was searched for."""
    if not audit.rounds:
        return None
    course = [(0.0, audit.clean.top1), *((done.gradients, done.standing / audit.examples) for done in audit.rounds)]
    series = [Series("", "total", course)]
    for i, arm in enumerate(dict.fromkeys(done.arm for done in audit.rounds)):
        taken = [(point, done) for point, done in zip(course[1:], audit.rounds, strict=True) if done.arm == arm]
        notes = [f"{arm} broke {r.broken:,} of {r.attacked:,}: {percent(y)} stand after {x:.1f} gradients an image" for (x, y), r in taken]
        series.append(Series(arm, f"run-{i % STYLES}", [point for point, _ in taken], notes=notes, joined=False))
    level, told = audit.protocol.accuracy.top1, percent(audit.protocol.accuracy.top1)
    series.append(Series(f"protocol, {told}", "adversarial", [(0.0, level), (max(course[-1][0], 1.0), level)], dashed=True))
    return draw(
        series,
        title="What stands after each search",
        description=f"From {percent(audit.clean.top1)} to {percent(course[-1][1])}; the protocol leaves {told}.",
        x_label="gradient evaluations per image",
        width=size[0],
        height=size[1],
        top=1,
        write_y=whole_percent,
    )


def margin_histogram(audit: Audit, *, size: Size = PANEL) -> Histogram | None:
    """How far the protocol's restarts got; None where no image was there to try them on."""
    margins = audit.margins
    if not margins.size:
        return None
    broken = margins > 0
    first, every = float(np.mean(broken[0])), float(np.mean(broken.any(0)))
    return draw_histogram(
        margins,
        title="Where the protocol ends",
        description=f"Of {margins.shape[1]:,} images the first restart breaks {percent(first)}, all together {percent(every)}.",
        x_label="margin: lead of the best wrong class",
        styles=(("withstood", "still right"), ("broken", "broken")),
        size=size,
    )


def radius_chart(audit: Audit, *, size: Size = PANEL) -> Chart | None:
    """What the protocol's attack leaves of a sample at several radii; None without one."""
    if not audit.curve:
        return None
    points = [(i + 0.5, top1) for i, (_, top1, _) in enumerate(audit.curve)]
    told = [f"{percent(top1)} at {radius(eps)}" for eps, top1, _ in audit.curve]
    return draw(
        [Series("protocol", "adversarial", points, notes=told)],
        title="The protocol at other radii",
        description=f"Of a sample of images there stand {', '.join(told)}.",
        x_label="eps (evenly spaced)",
        width=size[0],
        height=size[1],
        top=1,
        write_y=whole_percent,
        x_mark=next(((x, "audited") for (x, _), (eps, _, _) in zip(points, audit.curve, strict=True) if eps == audit.eps), None),
        categories=[radius(eps) for eps, _, _ in audit.curve],
    )
