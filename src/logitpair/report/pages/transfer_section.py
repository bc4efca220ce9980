"""The section on transfer: the accuracy of networks on images made against others, as heat maps."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from logitpair.report.figures.plot import RUN_COLOURS
from logitpair.report.pages.elements import DASH, Cell, details, figure, key, section, table, tag, text
from logitpair.report.records import Run
from logitpair.report.text.format import interval, listing, percent
from logitpair.report.text.summary import differences
from logitpair.storage.results import Accuracy, BlackBox, EvaluationResults

Suite = EvaluationResults | BlackBox


def transfer_section(runs: Sequence[Run]) -> list[Markup]:
    """A row a source and a column a target, each run by its evaluation ``transfer`` or else its main one; none without a source.

    A run that is neither attacked from elsewhere nor itself a source has no column.
    """
    measured = [(i, run.name, run.transfer) for i, run in enumerate(runs) if run.transfer]
    used = dict.fromkeys(source for _, _, evaluation in measured for source in evaluation.black_box)
    if not used:
        return []
    targets = [(i, name, evaluation) for i, name, evaluation in measured if evaluation.black_box or name in used]
    names = [name for _, name, _ in targets]
    sources = sorted(used, key=lambda source: names.index(source) if source in names else len(names))
    attacks = dict.fromkeys(name for _, _, evaluation in targets for suite in evaluation.black_box.values() for name in suite.attacks)
    headings = [key(f"run-{i % RUN_COLOURS}") + name for i, name, _ in targets]

    def heat_map(attack: str, pick: Callable[[Suite], Accuracy | None]) -> Markup:
        rows = [[source, *(_cell(source, name, evaluation, pick) for _, name, evaluation in targets)] for source in sources]
        corner = Markup('<span class="soft">images from ↓<br>tried on →</span>')
        return table(f"Accuracy by source and target, {attack}", [corner, *headings], rows, style="heat")

    def under(attack: str) -> Markup:
        return figure(attack, heat_map(attack, lambda suite: suite.attacks.get(attack)))

    differing = listing(differences([evaluation for _, _, evaluation in targets]))
    note = (
        "Accuracy of the network on top (the target) on images made against the network at the left (the source), under the attack that "
        "lowers it most; the redder, the more the images fool it."
        + " Framed: source and target are the same network, the white box."
        * any(_is_white_box(name, name, e) and name in used for _, name, e in targets)
        + (f" These evaluations differ in {differing}, so the columns do not compare." if differing else "")
    )
    each = [details("Each attack by itself", tag("div", *map(under, attacks), class_="matrices"))] if len(attacks) > 1 else []
    worst = heat_map("worst attack", lambda suite: suite if isinstance(suite, BlackBox) else suite.white_box)
    return [section("transfer", "How images made against one network fool another", worst, text(note), *each)]


def _is_white_box(source: str, target: str, evaluation: EvaluationResults) -> bool:
    return source == target and source not in evaluation.black_box


def _cell(source: str, target: str, evaluation: EvaluationResults, pick: Callable[[Suite], Accuracy | None]) -> Cell:
    own = _is_white_box(source, target, evaluation)
    suite = evaluation if own else evaluation.black_box.get(source)
    accuracy = pick(suite) if suite else None
    if not accuracy:
        return Cell(DASH, "none")
    made = "white box" if own else f"images from {source}"
    counts = f"{accuracy.correct:,} of {accuracy.total:,} right, 95% interval {interval(accuracy)}"
    return Cell(percent(accuracy.top1), "wrong own" if own else "wrong", f"{made}, tried on {target}: {counts}", 1 - accuracy.top1)
