"""What the page of runs says of one audit."""

from markupsafe import Markup

from logitpair.auditing.convergence import outlook
from logitpair.report.figures import audit_figures as figures
from logitpair.report.pages.elements import badge, figure, icon, plot_figure, table, tag, text
from logitpair.report.pages.gallery import gallery
from logitpair.report.text.format import LINF, Ball, call
from logitpair.storage.result_files import Ledger
from logitpair.storage.results import AuditResults, Finding


def audit_blocks(audit: AuditResults, ledger: Ledger) -> list[Markup]:
    """Verdict, figures, checks and images of an audit."""
    ball = Ball.of(audit.threat)
    columns = "gallery/x_adv", "prediction"
    attack = "the search that broke it (unchanged where none did)"
    return [
        tag("h3", "Audit", class_="evaluation"),
        text(badge(audit.verdict) + f" {audit.reason[:1].upper()}{audit.reason[1:]}.", "verdict"),
        *([text(more)] if (more := outlook(audit)) else []),
        tag("div", *_panels(audit, ledger), class_="panels"),
        _checks(audit),
        *gallery("The first audited images", ledger, *columns, audit.class_names, attack, [] if ball is None else [ball]),
    ]


def _panels(audit: AuditResults, ledger: Ledger) -> list[Markup]:
    reference, margins, histogram = audit.reference, ledger.get("restarts/margin"), figures.margin_histogram(ledger)
    bars = Markup(
        "Fraction of {:,} images classified right{}. The fine line at the end of a bar is the 95% interval. The reference attack: {}{}."
    ).format(
        audit.examples,
        f", under the reference attack of {reference.total:,} drawn at random" if reference.total != audit.examples else "",
        tag("code", call(reference.parameters)),
        "" if reference.measured else ", its number from an evaluation",
    )
    convergence = (
        "A point is one search over the images that were still correct. The searches spent "
        f"{audit.gradient_evaluations_per_example:.1f} gradients an image and ended because {audit.stop_reason}."
    )
    hills = "Two hills apart from each other are a loss with many peaks: where the attack starts decides what it finds."
    sample = f"{len(margins[0]):,}" if margins is not None else f"at most {max((p.examples for p in audit.eps_curve), default=0):,}"
    ball = Ball.of(audit.threat)
    reach = Ball(audit.eps_curve[-1].eps, ball.norm if ball else LINF).radius if audit.eps_curve else "1"
    radii = (
        f"On {sample} images classified right when clean. With every image in reach, at eps = {reach}, an attack that works leaves none."
    )
    return [
        *plot_figure(figures.audit_bars(audit), bars),
        *plot_figure(figures.convergence_plot(audit), convergence),
        *(plot_figure(histogram, f"{histogram.description} {hills}") if histogram else []),
        *plot_figure(figures.radius_plot(audit), radii),
        *_landscapes(audit, ledger),
    ]


def _landscapes(audit: AuditResults, ledger: Ledger) -> list[Markup]:
    plots, end = figures.landscape_plots(audit, ledger), f"{figures.largest_margin(ledger):.2g}"
    planes = tag("div", *(tag("figure", plot.svg(), tag("figcaption", plot.title)) for plot in plots))
    ends = tag("span", f"right, margin \N{MINUS SIGN}{end}"), tag("i"), tag("span", f"misclassified, margin {end}")
    ball = Ball.of(audit.threat)
    direction = "the sign of the gradient" if ball is None or ball.norm == LINF else "the gradient"
    note = (
        f"The margin when the image (the cross) is moved along {direction} and along random signs. The black line is where the "
        "answer changes. A surface that is rough, or flat along the gradient and steep beside it, leads attacks astray."
    )
    title = f"The loss around {len(plots)} images" if len(plots) > 1 else "The loss around an image"
    return [figure(title, planes, tag("p", *ends, class_="scale"), note=note, style="planes")] if plots else []


def _checks(audit: AuditResults) -> Markup:
    """The checks: those that failed, of these first those that forbid a verdict, and then those that passed."""
    findings = sorted(audit.findings, key=lambda finding: (finding.passed, not finding.blocks))
    failed = sum(not finding.passed for finding in findings)
    title = f"{failed} of {len(findings)} checks failed" if failed else f"{len(findings)} checks, all passed"
    shown = table("Checks", ["Result", "Check", "What was measured"], map(_check, findings), name=1, style="checks")
    return figure(title, shown)


def _check(finding: Finding) -> list[str]:
    result = "passed" if finding.passed else "failed"
    advice = "" if finding.passed else tag("p", finding.advice)
    evidence = Markup("{}{}").format(finding.evidence, advice)
    return [tag("span", icon(result), result, class_=f"result {result}"), finding.check.replace("_", " "), evidence]
