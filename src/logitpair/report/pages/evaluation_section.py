"""What the page of runs says of one evaluation."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup
from msgspec.structs import replace

from logitpair.evaluation.confidence import wilson
from logitpair.report.figures.evaluation_figures import attack_bars, search_plot
from logitpair.report.pages.elements import DASH, Cell, details, facts, figure, plot_figure, table, tag, text, with_soft
from logitpair.report.pages.gallery import gallery
from logitpair.report.text.format import balls, call, duration, percent, span
from logitpair.storage.result_files import Ledger
from logitpair.storage.results import Accuracy, AttackAccuracy, AttackInTurn, EvaluationResults

_STILL = "Images still classified right after so many"
_LONGER = "A curve that still falls at its end means that a longer attack would find more."
_MEASURES = ("clean", "white_box", "white_box_top5", "black_box", "black_box_top5")  # that papers publish


def evaluation_blocks(evaluation: EvaluationResults, ledger: Ledger, training: Sequence[Markup]) -> list[Markup]:
    """Published numbers, images, figures (followed by those of the training) and every attack of an evaluation."""
    attack, names = evaluation.worst_case.attack, evaluation.class_names
    called = attack if evaluation.white_box else "any attack"
    columns = f"gallery/white_box/{attack}", f"white_box/{attack}/prediction"
    panels = [
        *plot_figure(attack_bars(evaluation), "White box. The fine line at the end of a bar is the 95% interval."),
        *_broken(evaluation),
        *plot_figure(search_plot(evaluation, "steps"), f"{_STILL} gradient steps of the first restart. {_LONGER}"),
        *plot_figure(search_plot(evaluation, "restarts"), f"{_STILL} restarts. {_LONGER}"),
        *_confusion(evaluation),
    ]
    return [
        *_published(evaluation),
        *gallery("The first test images, attacked", ledger, *columns, names, called, balls(evaluation)),
        tag("div", *panels, *training, class_="panels"),
        _every_attack(evaluation),
    ]


def published_rows(evaluation: EvaluationResults) -> list[list[str]]:
    """The published numbers beside ours, paper by paper; of several black-box sources ours is the one that fools the network most."""
    rows: list[list[str]] = []
    for paper in evaluation.published:
        source = f"{paper.source} ({paper.note})" if paper.note else paper.source
        for measure in _MEASURES:
            if (published := getattr(paper, measure)) is not None:
                origin, ours = _ours(evaluation, measure)
                at_most = "≤ " if ours and measure.endswith("top5") and ours.top5_is_upper_bound else ""
                numbers = [at_most + percent(ours.top1), span(ours.ci95)] if ours else [DASH, DASH]
                inside = ours and ours.ci95[0] <= published <= ours.ci95[1]
                theirs = with_soft(percent(published), "within the interval") if inside else percent(published)
                name = measure.replace("_top5", ", top-5").replace("_", " ")
                rows.append([name + origin, *numbers, theirs, source])
    return rows


def _published(evaluation: EvaluationResults) -> list[Markup]:
    rows, title = published_rows(evaluation), "Beside published numbers"
    head = ["Accuracy", "Ours", "95% interval", "Published", "Source"]
    note = "A difference within the interval is no difference. Published robustness was measured with that paper's attack alone."
    return [figure(title, table(title, head, rows, numbers=range(1, 4), style="published"), note=note)] if rows else []


def _ours(evaluation: EvaluationResults, measure: str) -> tuple[str, Accuracy | None]:
    """From where, and our accuracy if it was measured; also a top-5 accuracy as ``top1``."""
    if measure == "clean":
        return "", evaluation.clean
    found: list[tuple[str, Accuracy]] = [(f" from {source}", suite) for source, suite in evaluation.black_box.items()]
    if measure.startswith("white_box"):
        found = [("", evaluation.white_box)] if evaluation.white_box else []
    if measure.endswith("top5"):
        found = [(origin, _top5(worst, worst.top5)) for origin, worst in found if worst.top5 is not None]
    return min(found, key=lambda pair: pair[1].top1, default=("", None))


def _top5(worst: Accuracy, top5: float) -> Accuracy:
    correct = round(top5 * worst.total)
    return replace(worst, top1=top5, correct=correct, ci95=wilson(correct, worst.total), top5=None)


def _broken(evaluation: EvaluationResults) -> list[Markup]:
    rows = [
        [name, f"{attack.broken.total:,}", f"{attack.broken.first:,}", f"{attack.broken.alone:,}"]
        for name, attack in evaluation.attacks.items()
        if attack.broken
    ]
    title = "Which attack broke what"
    note = (
        f"Of the {evaluation.clean.correct:,} images classified right when clean: how many each attack broke, how many it was the first of "
        "the suite to break, and how many no other attack broke. Without an attack that broke 0 alone the suite would have found the same."
    )
    head = ["Attack", "Broken", "First", "Alone"]
    if evaluation.in_turn:
        rows = [[name, f"{each.attacked:,}", f"{each.broken:,}"] for name, each in evaluation.in_turn.items()]
        note = "Each attack searched only the images that no attack before it broke: how many there were, and how many of them it broke."
        head = ["Attack", "Attacked", "Broken"]
    shown = table(title, head, rows, numbers=range(1, len(head)), style="tight")
    return [figure(title, shown, note=note)] if rows else []


def _confusion(evaluation: EvaluationResults) -> list[Markup]:
    names, attack = evaluation.class_names, evaluation.worst_case.attack
    rows: list[list[str | Cell]] = []
    for true, counts in enumerate(evaluation.worst_case.confusion or ()):
        total = sum(counts) or 1
        cells = [Cell(str(n or ""), "right" if i == true else "wrong", strength=n / total) for i, n in enumerate(counts)]
        rows.append([Cell(names[true], title=names[true]), *cells])
    if not rows:
        return []
    shown = table(
        f"Confusion under {attack}: rows are the true class, columns the prediction", ["", *(tag("span", n, title=n) for n in names)], rows
    )
    note = f"Rows are the true class, columns the prediction; green is right, red is wrong. Images under {attack}."
    style = "confusion long" if max(map(len, names)) > 3 else "confusion"
    return [figure("What images are taken for under attack", shown, note=note, style=style)]


def _every_attack(evaluation: EvaluationResults) -> Markup:
    rows = [_row("clean", "none", evaluation.clean), *_rows("white box", evaluation.attacks, evaluation.white_box_union)]
    if evaluation.in_turn:
        rows += [["white box, in turn", name, *[DASH] * 4, *_cost(each)] for name, each in evaluation.in_turn.items()]
        rows += [_row("white box", "any of them", evaluation.white_box_union)]
    for source, suite in evaluation.black_box.items():
        rows += _rows(f"black box from {source}", suite.attacks, suite.union)
    head = ["Threat", "Attack", "Accuracy", "95% interval", "Correct", "Top-5", "Gradients|per image", "Time"]
    note = (
        "Black-box images are made by the same attacks, searching to their last step. Top-5 accuracy marked ≤ is an upper bound: the "
        "search stopped once the first guess was wrong."
    )
    parameters = facts((name, tag("code", call(attack))) for name, attack in evaluation.parameters.items())
    shown = table("Every attack", head, rows, numbers=range(2, 8))
    return details("Every attack: accuracy, parameters and cost", shown, parameters, text(note))


def _rows(threat: str, attacks: dict[str, AttackAccuracy], union: Accuracy) -> Iterable[list[str]]:
    yield from (_row(threat, name, attack) for name, attack in attacks.items())
    if len(attacks) > 1:
        yield _row(threat, "any of them", union)


def _row(threat: str, attack: str, accuracy: Accuracy) -> list[str]:
    top5 = DASH if accuracy.top5 is None else "≤ " * bool(accuracy.top5_is_upper_bound) + percent(accuracy.top5)
    cost = _cost(accuracy) if isinstance(accuracy, AttackAccuracy) else [DASH, DASH]
    counts = f"{accuracy.correct:,} / {accuracy.total:,}"
    return [threat, attack, percent(accuracy.top1), span(accuracy.ci95), counts, top5, *cost]


def _cost(attack: AttackAccuracy | AttackInTurn) -> list[str]:
    return [f"{attack.gradient_evaluations_per_example:,.1f}", duration(attack.seconds)]
