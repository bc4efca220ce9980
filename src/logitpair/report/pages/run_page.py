"""The page about runs: a comparison, curves, images, settings, costs and the commands to repeat it."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from logitpair.errors import InputError
from logitpair.report.figures.evaluation_figures import eps_plot
from logitpair.report.figures.plot import NARROW, RUN_COLOURS, WIDE
from logitpair.report.figures.training_figures import training_plots
from logitpair.report.pages import elements as html
from logitpair.report.pages.audit_section import audit_blocks
from logitpair.report.pages.evaluation_section import evaluation_blocks
from logitpair.report.pages.transfer_section import transfer_section
from logitpair.report.records import Run, load_run
from logitpair.report.text.commands import commands
from logitpair.report.text.format import LINF, Ball, class_name, curve_norm, duration, pairs, settings_text
from logitpair.report.text.summary import summarize
from logitpair.storage.atomic_files import atomic_write
from logitpair.storage.results import Accuracy, AuditResults, CertificateResults, Results, Training


def write_report(folders: Sequence[Path], out: Path) -> None:
    """Write one page about all the runs, in their order: one given twice is shown once, one not evaluated yet shows its training."""
    if not folders:
        raise InputError("runs is empty; give at least one run directory")
    distinct = {Path(folder).resolve(): Path(folder) for folder in folders}
    runs = [load_run(folder) for folder in distinct.values()]
    summary = summarize(runs)
    sections = [*_comparison(runs), *transfer_section(runs), *_curve(runs), *map(_run, range(len(runs)), runs), _again(runs, out)]
    leads = [summary.paragraph]
    atomic_write(out, html.page("Robustness report", summary.headline, leads, summary.caution, *sections, doubts=summary.doubts))


def _colour(i: int) -> str:
    return f"run-{i % RUN_COLOURS}"


def _comparison(runs: Sequence[Run]) -> list[Markup]:
    audited, evaluated = any(run.audit for run in runs), any(run.main for run in runs)
    used = list(dict.fromkeys(source for run in runs if run.main for source in run.main.black_box))
    sources = used if len(used) == 1 else []  # several would make the table too wide
    certified = [run.certificate for run in runs if run.certificate]
    radii = ", ".join(dict.fromkeys(str(Ball.of(each.threat)) for each in certified))
    head = [
        "Run",
        *[f"Certified|no image at eps {radii}"] * bool(certified),
        *["Audit|any search"] * audited,
        "Clean",
        *["White box|worst attack", "White box|any attack"] * evaluated,
    ]
    rows: list[list[html.Cell]] = []
    for i, run in enumerate(runs):
        main, either = run.main, run.main or run.audit or run.certificate
        if not either:
            continue
        cells: list[Accuracy | str] = [_certified(run, either.weights)] * bool(certified)
        cells += [run.audit.robust_accuracy if run.audit else "not audited"] * audited
        cells += [either.clean, *([main.white_box or html.DASH, main.white_box_union] if main else [html.DASH] * 2) * evaluated]
        cells += [main.black_box.get(source, html.DASH) if main else html.DASH for source in sources]
        verdict = Markup("<br>") + html.badge(run.audit.verdict) if run.audit else ""
        shown = [html.Cell(cell, "none") if isinstance(cell, str) else html.Cell(html.bar(cell), _colour(i)) for cell in cells]
        rows.append([html.Cell(Markup("{}{}{}").format(html.key(), run.name, verdict), _colour(i)), *shown])
    if not rows:
        return []
    note = "Fraction of test images classified correctly, with the 95% interval below it."
    if certified:
        note += " Certified: proven right whatever is changed within eps, so that robust accuracy there is at least this."
    if audited:
        note += " Audit: what no search of the audit broke; where there is one, it is the number to quote."
    if evaluated:
        note += " White box: the attack sees the network. “Any attack” counts an image as fooled if any attack of the suite fooled it."
    if used:
        note += " Black box: images made against another network, tried on this one"
        note += "." if sources else "; with several such networks see the table below."
    shown = html.table("Accuracy", [*head, *(f"Black box|from {source}" for source in sources)], rows, style="comparison")
    return [html.section("comparison", "Accuracy", shown, html.text(note))]


def _certified(run: Run, weights: str | None) -> Accuracy | str:
    """What is certified, if it is of the weights that the run's other numbers are of."""
    if run.certificate is None:
        return "not certified"
    return run.certificate.certified if run.certificate.weights in (None, weights) else "of other weights"


def _curve(runs: Sequence[Run]) -> list[Markup]:
    lines = [(run.name, i, run.main) for i, run in enumerate(runs) if run.main]
    plots = [plot for size in (WIDE, NARROW) if (plot := eps_plot(lines, size))]
    if not plots:
        return []
    curves = [{point.eps: point for point in evaluation.curve} for _, _, evaluation in lines]
    norms = {curve_norm(evaluation) for _, _, evaluation in lines}
    norm = norms.pop() if len(norms) == 1 else ""
    radii = sorted(set[float]().union(*curves))
    rows = [[Ball(eps, norm).radius, *(html.measured(curve.get(eps)) for curve in curves)] for eps in radii]
    notes = (
        "Each curve runs the first attack of the run\N{RIGHT SINGLE QUOTATION MARK}s suite at several radii, its steps scaled with the "
        "radius. The bands are 95% intervals.",
        f"A curve that can be believed reaches zero{': at eps = 0.5 every image can be turned into plain grey' if norm == LINF else ''}. "
        "One that stays up shows an attack that fails, not a robust network.",
    )
    numbers = "The curve in numbers"
    shown = html.details(numbers, html.table(numbers, ["eps", *(name for name, _, _ in lines)], rows))
    return [html.section("curve", "How accuracy falls as the attack may change more", html.wide_plot(plots, *notes), shown)]


def _run(i: int, run: Run) -> Markup:
    names = [class_name(run.settings.get(setting)) for setting in ("objective", "model", "data")]
    epochs = f"{run.settings['epochs']:g} epochs" if "epochs" in run.settings else None
    trained = f"trained in {duration(run.training.seconds)}" if run.training else None
    blocks = [html.text(html.DOT.join(words for words in (*names, epochs, trained) if words))]
    training = [panel for plot in training_plots(run.metrics) for panel in html.plot_figure(plot)]
    if run.audit:
        blocks += audit_blocks(run.audit, run.audit_ledger)
    for evaluation, ledger in zip(run.evaluations, run.ledgers, strict=True):
        if len(run.evaluations) > 1 or run.audit:
            blocks.append(html.tag("h3", f"Evaluation “{evaluation.name}”", class_="evaluation"))
        blocks += evaluation_blocks(evaluation, ledger, training if evaluation is run.main else [])
    if not run.evaluations:
        if not run.audit:
            blocks.append(html.text("Not evaluated yet. Next: " + html.tag("code", f"logitpair evaluate {run.path}"), "caution"))
        blocks.append(html.tag("div", *training, class_="panels"))
    settings = html.tag("pre", settings_text(run.settings), tabindex=0) if run.settings else Markup("")
    blocks.append(html.details("Settings, seeds, versions and hardware", html.facts(_facts(run)), settings))
    return html.section(f"run-{i + 1}", run.name, *blocks, style=f"run {_colour(i)}")


def _facts(run: Run) -> list[tuple[str, str]]:
    scale = f", scale {run.scale}" if run.scale not in (None, "paper") else ""
    found = [("Recipe", run.recipe + scale)] if run.recipe else []
    if "seed" in run.settings:
        found.append(("Training seed", str(run.settings["seed"])))
    if done := run.training:
        processes = f"{done.processes} process{'es' if done.processes > 1 else ''}"
        found.append(("Training", f"{done.steps} steps in {duration(done.seconds)}, {done.precision}, {processes}"))
        found += [("Went back", f"step {r.step} to {r.back_to_step}, then by {class_name(r.attack)}") for r in done.recoveries]
        found.append(("Trained on", _machine(done)))
    for results in (*run.evaluations, run.audit, run.certificate):
        if results is None:
            continue
        checkpoint = f", checkpoint {results.checkpoint}" if results.checkpoint else ""
        match results:
            case AuditResults():
                name, done, limit = "Audit", "Audited on", f", at most {results.budget:g} gradients an image"
            case CertificateResults():
                methods = ", ".join(method.name for method in results.methods)
                name, done, limit = "Certificate", "Certified on", f", {Ball.of(results.threat)}, by {methods}"
            case _:
                name, done, limit = f"Evaluation {results.name}", "Evaluated on", ""
        how = f"{results.created}, seed {results.seed}, {results.examples:,} images{checkpoint}{limit}"
        found.append((name, f"{how}, in {duration(results.wall_time_seconds)}"))
        found.append((done, _machine(results)))
    return found


def _machine(record: Training | Results) -> Markup:
    return Markup("{}<br>{}").format(pairs(record.hardware), pairs(record.versions))


def _again(runs: Sequence[Run], out: Path) -> Markup:
    lines = html.tag("pre", *(html.tag("span", command) + "\n" for command in commands(runs, out)), class_="commands", tabindex=0)
    own = html.tag("code", f"logitpair train {runs[0].path}/config.yaml --out NEW")
    note = Markup(
        "A recipe\N{RIGHT SINGLE QUOTATION MARK}s settings may have been overridden in training. To train with exactly the settings "
        "of a run, give its own file as the recipe: {}. DIR is the folder of the data set, ATTACKS.yaml "
        "a file of the attacks that “Every attack” lists."
    )
    return html.section("again", "How to reproduce", lines, html.text(note.format(own)))
