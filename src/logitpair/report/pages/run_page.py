"""The page about runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from logitpair.report.figures.evaluation_figures import eps_plot
from logitpair.report.figures.plot import NARROW, RUN_COLOURS, WIDE
from logitpair.report.figures.training_figures import training_plots
from logitpair.report.pages.audit_section import audit_blocks
from logitpair.report.pages.elements import (
    DASH,
    DOT,
    Cell,
    badge,
    bar,
    details,
    facts,
    key,
    measured,
    page,
    plot_figure,
    section,
    table,
    tag,
    text,
    wide_plot,
)
from logitpair.report.pages.evaluation_section import evaluation_blocks
from logitpair.report.pages.transfer_section import transfer_section
from logitpair.report.records.run import Run
from logitpair.report.text.commands import commands
from logitpair.report.text.format import class_name, duration, pairs, radius, settings_text
from logitpair.report.text.summary import summarize
from logitpair.storage.results import Accuracy, AuditResults


def render(runs: Sequence[Run], out: Path) -> str:
    """The HTML of the page about the runs, to be written to ``out``."""
    summary = summarize(runs)
    head = [text(summary.paragraph, "lead"), text(tag("strong", "Read with care.") + f" {summary.caution}", "caution")]
    if summary.doubts:
        doubts = tag("ul", *(tag("li", doubt) for doubt in summary.doubts))
        head.append(tag("div", tag("strong", "Signs against these numbers"), doubts, class_="caution doubt"))
    sections = [*_comparison(runs), *transfer_section(runs), *_curve(runs), *map(_run, range(len(runs)), runs), _again(runs, out)]
    return page("Robustness report", summary.headline, head, sections)


def _colour(i: int) -> str:
    return f"run-{i % RUN_COLOURS}"


def _comparison(runs: Sequence[Run]) -> list[Markup]:
    audited, evaluated = any(run.audit for run in runs), any(run.main for run in runs)
    used = list(dict.fromkeys(source for run in runs if run.main for source in run.main.black_box))
    sources = used if len(used) == 1 else []  # several would make the table too wide
    head = ["Run", *["Audit|any search"] * audited, "Clean", *["White box|worst attack", "White box|any attack"] * evaluated]
    rows: list[list[Cell]] = []
    for i, run in enumerate(runs):
        main, either = run.main, run.main or run.audit
        if not either:
            continue
        cells: list[Accuracy | str] = [run.audit.robust_accuracy if run.audit else "not audited"] if audited else []
        cells.append(either.clean)
        cells += ([main.white_box, main.white_box_union] if main else [DASH, DASH]) if evaluated else []
        cells += [main.black_box.get(source, DASH) if main else DASH for source in sources]
        verdict = Markup("<br>") + badge(run.audit.verdict) if run.audit else ""
        shown = [Cell(cell, "none") if isinstance(cell, str) else Cell(bar(cell), _colour(i)) for cell in cells]
        rows.append([Cell(Markup("{}{}{}").format(key(), run.name, verdict), _colour(i)), *shown])
    if not rows:
        return []
    note = "Fraction of test images classified correctly, with the 95% interval below it."
    if audited:
        note += " Audit: what no search of the audit broke; where there is one, it is the number to quote."
    if evaluated:
        note += " White box: the attack sees the network. “Any attack” counts an image as fooled if any attack of the suite fooled it. "
        note += "Black box: images made against another network, tried on this one"
        note += "; with several such networks see the table below." if used and not sources else "."
    shown = table("Accuracy", [*head, *(f"Black box|from {source}" for source in sources)], rows, style="comparison")
    return [section("comparison", "Accuracy", shown, text(note))]


def _curve(runs: Sequence[Run]) -> list[Markup]:
    lines = [(run.name, i, run.main) for i, run in enumerate(runs) if run.main]
    plots = [plot for size in (WIDE, NARROW) if (plot := eps_plot(lines, size))]
    if not plots:
        return []
    curves = [{point.eps: point for point in evaluation.curve} for _, _, evaluation in lines]
    rows = [[radius(eps), *(measured(curve.get(eps)) for curve in curves)] for eps in sorted({eps for curve in curves for eps in curve})]
    notes = (
        "Each curve runs the first attack of the run's suite at several radii, its steps scaled with the radius. The bands are 95% "
        "intervals.",
        "A curve that can be believed reaches zero: at eps = 0.5 every image can be turned into plain grey. One that stays up shows an "
        "attack that fails, not a robust network.",
    )
    numbers = "The curve in numbers"
    shown = details(numbers, table(numbers, ["eps", *(name for name, _, _ in lines)], rows))
    return [section("curve", "How accuracy falls as the attack may change more", wide_plot(plots, *notes), shown)]


def _run(i: int, run: Run) -> Markup:
    names = [class_name(run.settings.get(setting)) for setting in ("objective", "model", "data")]
    epochs = f"{run.settings['epochs']:g} epochs" if "epochs" in run.settings else None
    trained = f"trained in {duration(run.training.seconds)}" if run.training else None
    blocks = [text(DOT.join(words for words in (*names, epochs, trained) if words))]
    training = [panel for plot in training_plots(run.metrics) for panel in plot_figure(plot)]
    if run.audit:
        blocks += audit_blocks(run.audit, run.audit_ledger)
    for evaluation, ledger in zip(run.evaluations, run.ledgers, strict=True):
        if len(run.evaluations) > 1 or run.audit:
            blocks.append(tag("h3", f"Evaluation “{evaluation.name}”", class_="evaluation"))
        blocks += evaluation_blocks(evaluation, ledger, training if evaluation is run.main else [])
    if not run.evaluations:
        if not run.audit:
            blocks.append(text("Not evaluated yet. Next: " + tag("code", f"logitpair evaluate {run.path}"), "caution"))
        blocks.append(tag("div", *training, class_="panels"))
    settings = tag("pre", settings_text(run.settings), tabindex=0) if run.settings else Markup("")
    blocks.append(details("Settings, seeds, versions and hardware", facts(_facts(run)), settings))
    return section(f"run-{i + 1}", run.name, *blocks, style=f"run {_colour(i)}")


def _facts(run: Run) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if run.recipe:
        found.append(("Recipe", run.recipe + (f", scale {run.scale}" if run.scale not in (None, "paper") else "")))
    if "seed" in run.settings:
        found.append(("Training seed", str(run.settings["seed"])))
    if done := run.training:
        processes = f"{done.processes} process{'es' if done.processes > 1 else ''}"
        found.append(("Training", f"{done.steps} steps in {duration(done.seconds)}, {done.precision}, {processes}"))
        found.append(("Trained on", Markup("{}<br>{}").format(pairs(done.hardware), pairs(done.versions))))
    for results in (*run.evaluations, *((run.audit,) if run.audit else ())):
        audit = isinstance(results, AuditResults)
        checkpoint = f", checkpoint {results.checkpoint}" if results.checkpoint else ""
        budget = f", at most {results.budget:g} gradients an image" if audit else ""
        how = f"{results.created}, seed {results.seed}, {results.examples:,} images{checkpoint}{budget}"
        found.append(("Audit" if audit else f"Evaluation {results.name}", f"{how}, in {duration(results.wall_time_seconds)}"))
        machine = Markup("{}<br>{}").format(pairs(results.hardware), pairs(results.versions))
        found.append(("Audited on" if audit else "Evaluated on", machine))
    return found


def _again(runs: Sequence[Run], out: Path) -> Markup:
    lines = tag("pre", *(tag("span", command) + "\n" for command in commands(runs, out)), class_="commands", tabindex=0)
    own = tag("code", f"logitpair train {runs[0].path}/config.yaml --out NEW")
    note = Markup(
        "A recipe's settings may have been overridden in training. To train with exactly the settings of a run, give its own file as the "
        "recipe: {}. DIR is the folder of the data set, ATTACKS.yaml a file of the attacks that “Every attack” lists."
    )
    return section("again", "How to reproduce", lines, text(note.format(own)))
