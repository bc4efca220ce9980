"""The figures of an audit: its number beside the reference attack's, the course of the search, and the loss that attacks see."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from logitpair.report.figures.evaluation_figures import accuracy_bars
from logitpair.report.figures.plot import COLOURS, DASHED, PANEL, WIDE, Plot, Size, styled
from logitpair.report.text.format import LINF, Ball, percent
from logitpair.storage.result_files import Ledger
from logitpair.storage.results import AuditResults

LEVELS = 12  # strengths of each of the two colours of a loss landscape
_USUAL = 98  # percent of the margins that the colours span; a few peaks would leave the rest without colour
_BINS = 24  # of a histogram, about


def audit_figures(audit: AuditResults, ledger: Ledger) -> dict[str, Figure]:
    """The figures of ``Audit.plots``, each with title and legend."""
    plots = {
        "convergence": convergence_plot(audit, size=WIDE),
        "restarts": margin_histogram(ledger, size=WIDE),
        "eps": radius_plot(audit, size=WIDE),
    }
    figures = {name: plot.titled(f"{plot.title} ({audit.verdict})") for name, plot in plots.items() if plot}
    return figures | ({"surfaces": _landscapes(audit, ledger)} if len(ledger.get("surface/margin", ())) else {})


def audit_bars(audit: AuditResults, *, width: float = PANEL[0]) -> Plot:
    """Accuracy without attack, under the reference attack and after the audit; after it with 8 bits a pixel too, where that differs."""
    rows = [("clean", "good", audit.clean), ("reference attack", "bad", audit.reference), ("audit", "ink", audit.robust_accuracy)]
    if audit.robust_accuracy_8_bit.correct != audit.robust_accuracy.correct:
        rows.append(("audit, images of 8 bits", "ink", audit.robust_accuracy_8_bit))
    if audit.certified:
        rows.append(("certified", "good", audit.certified))
    keys = {"good": "clean", "bad": "under the reference attack", "ink": "after the audit"}
    return accuracy_bars("The reference attack and the audit", rows, keys, width)


def convergence_plot(audit: AuditResults, *, size: Size = PANEL) -> Plot | None:
    """Accuracy against the gradients spent on an image, a point a round; None where no image was searched for."""
    if not audit.rounds:
        return None
    plot = Plot("Robust accuracy after each search", size, x_label="gradient evaluations per image", fractions=True)
    course = [(done.gradients_per_example, done.still_correct / audit.examples) for done in audit.rounds]
    plot.line("", "ink", [(0.0, audit.clean.top1), *course])
    for i, strategy in enumerate(dict.fromkeys(done.strategy for done in audit.rounds)):
        own = [(point, done) for point, done in zip(course, audit.rounds, strict=True) if done.strategy == strategy]
        notes = [f"{strategy} broke {r.broken:,} of {r.attacked:,}: {percent(y)} after {x:.1f} gradients an image" for (x, y), r in own]
        plot.line(strategy, i, [point for point, _ in own], notes=notes, joined=False)
    reference, end = audit.reference.top1, max(course[-1][0], 1.0)
    plot.line(f"reference attack, {percent(reference)}", "bad", [(0, reference), (end, reference)], dotted=True)
    lowest = ""
    if audit.certified:
        proven = audit.certified.top1
        plot.line(f"certified, {percent(proven)}", "good", [(0, proven), (end, proven)], dotted=True)
        lowest = f" {percent(proven)} are certified."
    plot.axes.set_xlim(0, end)
    left = f"From {percent(audit.clean.top1)} to {percent(course[-1][1])}; the reference attack leaves {percent(reference)}."
    plot.description = left + lowest
    return plot


def margin_histogram(ledger: Ledger, *, size: Size = PANEL) -> Plot | None:
    """How often the reference attack's restarts ended at each margin, 0 being an edge between bins; None where it was tried on no image."""
    margins = ledger.get("restarts/margin", np.zeros((0, 0)))
    if not margins.size:
        return None
    plot = Plot("Where the reference attack ends", size, x_label="margin: lead of the best wrong class")
    finite = margins[np.isfinite(margins)].astype(float)
    low, high = min(0.0, float(finite.min(initial=0))), max(0.0, float(finite.max(initial=0)))
    step = (high - low) / _BINS or 1.0
    bins = np.ceil(finite / step - 1e-9).astype(int) - 1  # a margin of exactly 0 is not misclassified: it belongs to the bin below
    for colour, meaning, wrong in (("run-0", "still correct", False), ("bad", "misclassified", True)):
        numbers, counts = np.unique(bins[(bins >= 0) == wrong], return_counts=True)
        if not len(numbers):  # bars of nothing have no colour that a legend could show
            continue
        bars = plot.axes.bar(numbers * step, counts, 0.93 * step, align="edge", color=COLOURS[colour], alpha=0.75, label=meaning)
        for bar, number, count in zip(bars, numbers, counts, strict=True):
            plot.note(bar, [f"{number * step:.3g} to {(number + 1) * step:.3g}: {count:,}"])
    plot.axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    plot.axes.margins(x=0)
    plot.axes.axvline(0, color=COLOURS["soft"], linewidth=1, linestyle=DASHED)
    misclassified, missing = ~(margins <= 0), margins.size - finite.size  # also by logits that are not finite
    first, any_of_them = percent(float(np.mean(misclassified[0]))), percent(float(np.mean(misclassified.any(0))))
    plot.description = f"Of {margins.shape[1]:,} images the first restart breaks {first}, all together {any_of_them}."
    plot.description += f" {missing:,} margins are not finite." if missing else ""
    return plot


def radius_plot(audit: AuditResults, *, size: Size = PANEL) -> Plot | None:
    """What the reference attack leaves of a sample at several radii, evenly spaced; None without them."""
    if not audit.eps_curve:
        return None
    plot = Plot("The reference attack at other radii", size, x_label="eps (evenly spaced)", fractions=True)
    audited = Ball.of(audit.threat)
    names = [Ball(point.eps, audited.norm if audited else LINF).radius for point in audit.eps_curve]
    notes = [f"{percent(point.top1)} at {name}" for point, name in zip(audit.eps_curve, names, strict=True)]
    plot.line("reference attack", "bad", [(float(i), point.top1) for i, point in enumerate(audit.eps_curve)], notes=notes)
    plot.axes.set(xlim=(-0.5, len(names) - 0.5), xticks=range(len(names)), xticklabels=names)
    plot.description = f"Of a sample of images are still correct {', '.join(notes)}."
    for i, point in enumerate(audit.eps_curve):
        if audited and point.eps == audited.eps:
            plot.mark("audited", x=i)
    return plot


def landscape_plots(audit: AuditResults, ledger: Ledger) -> list[Plot]:
    """The misclassification margin on a plane around each of a few images, all in the same colours."""
    plots: list[Plot] = []
    for position, margin in _planes(ledger):
        wrong = percent(float(np.mean(~(margin <= 0))))
        plot = Plot(f"image {position}: {wrong} misclassified", (230, 248), margins=(26, 8, 10, 42))
        plot.description = f"The margin on a plane around the image, {wrong} of which is misclassified."
        _draw_landscape(plot.axes, margin, largest_margin(ledger), audit)
        plots.append(plot)
    return plots


def largest_margin(ledger: Ledger) -> float:
    """The margin at which the strongest colour of the loss landscapes begins."""
    margins = ledger.get("surface/margin", np.zeros(0))
    sizes = np.abs(margins[np.isfinite(margins)])
    return (float(np.percentile(sizes, _USUAL)) if sizes.size else 0.0) or 1.0


def _planes(ledger: Ledger) -> list[tuple[int, NDArray[Any]]]:
    return list(zip(map(int, ledger.get("surface/position", ())), ledger.get("surface/margin", ()), strict=True))


def _colours(end: float) -> tuple[ListedColormap, BoundaryNorm]:
    """Blue below 0 and red above, the stronger the further from it."""
    strengths = np.linspace(0.1, 0.95, LEVELS)
    colours = [to_rgba(COLOURS["run-0"], s) for s in strengths[::-1]] + [to_rgba(COLOURS["bad"], s) for s in strengths]
    return ListedColormap(colours), BoundaryNorm(np.linspace(-end, end, 2 * LEVELS + 1), 2 * LEVELS)


@styled
def _draw_landscape(axes: Axes, margin: NDArray[Any], end: float, audit: AuditResults) -> None:
    """Columns go along the gradient, rows upwards along random signs; a margin that is not finite counts as misclassified."""
    (colours, norm), ball = _colours(end), Ball.of(audit.threat)
    unit = "eps" if ball is None else ball.radius
    values = np.clip(np.where(np.isnan(margin), end, margin), -end, end)
    across, up = (np.linspace(-1, 1, length) for length in values.shape[::-1])
    axes.contourf(across, up, values, norm.boundaries, cmap=colours, norm=norm)
    if values.min() <= 0 < values.max():
        axes.contour(across, up, values, [0], colors=COLOURS["ink"], linewidths=1.6)
    axes.plot(0, 0, marker="+", markersize=8, color=COLOURS["ink"])
    axes.set(facecolor=COLOURS["shade"], aspect="equal", xticks=[-1, 0, 1], yticks=[], xticklabels=[f"\N{MINUS SIGN}{unit}", "0", unit])
    sign = "\N{RIGHT SINGLE QUOTATION MARK}s sign" if ball is None or ball.norm == LINF else ""
    axes.set_xlabel(f"along the gradient{sign} \N{RIGHTWARDS ARROW}")
    axes.set_ylabel("along random signs \N{RIGHTWARDS ARROW}")


@styled
def _landscapes(audit: AuditResults, ledger: Ledger) -> Figure:
    """All planes side by side, with a bar of the colours."""
    planes, end = _planes(ledger), largest_margin(ledger)
    colours, norm = _colours(end)
    figure = Figure(figsize=(3.2 * len(planes) + 0.6, 4), layout="constrained")
    for axes, (position, margin) in zip(figure.subplots(1, len(planes), squeeze=False)[0], planes, strict=True):
        _draw_landscape(axes, margin, end, audit)
        axes.set_title(f"image {position}", fontsize=12, color=COLOURS["ink"])
    figure.colorbar(ScalarMappable(norm, colours), ax=figure.axes, ticks=[-end, 0, end], format="%.2g", shrink=0.7)
    figure.suptitle("Margin around images: above 0 misclassified", fontsize=15, fontweight="bold", color=COLOURS["ink"])
    return figure
