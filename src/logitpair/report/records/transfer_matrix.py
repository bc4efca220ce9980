"""How images made against one network fool the others: the accuracies as a matrix, source by target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from logitpair.report.records.evaluation import Accuracy, Evaluation, Suite
from logitpair.report.records.run import Run
from logitpair.report.text.evaluation_summary import differences
from logitpair.report.text.format import listing

Pick = Callable[[Suite], Accuracy | None]


@dataclass(frozen=True)
class Cell:
    """The accuracy of a target on a source's images; the target's own white box where the two are one network."""

    accuracy: Accuracy
    white_box: bool


@dataclass(frozen=True)
class Matrix:
    """Accuracies under one attack, or under the worst: a row a source and a column a target, empty where it was not measured."""

    attack: str
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]


@dataclass(frozen=True)
class Transfer:
    """Everything the heat map shows.

    Args:
        targets: the runs that the images were tried on, with their places on the page.
        worst: under each pair's worst attack.
        attacks: under each attack, where there are several.
        differing: in what the targets' evaluations differ, so that the columns do not compare.
    """

    targets: tuple[tuple[int, str], ...]
    worst: Matrix
    attacks: tuple[Matrix, ...]
    differing: str

    @property
    def has_white_box(self) -> bool:
        """Whether a target is a source too."""
        return any(cell.white_box for _, cells in self.worst.rows for cell in cells if cell)


def transfer(runs: Sequence[Run]) -> Transfer | None:
    """The matrix of these runs, each by its evaluation ``transfer`` or else its main one; None without images from another network.

    A run that is neither attacked from elsewhere nor itself a source has no column.
    """
    measured = [(i, run.name, run.transfer) for i, run in enumerate(runs) if run.transfer]
    used = dict.fromkeys(source for _, _, evaluation in measured for source in evaluation.black_box)
    if not used:
        return None
    own = [name for _, name, _ in measured if name in used]
    sources = list(dict.fromkeys([*own, *used]))  # in the order of the page, then those that are not on it
    targets = [(i, name, evaluation) for i, name, evaluation in measured if evaluation.black_box or name in used]
    columns = [(name, evaluation) for _, name, evaluation in targets]
    suites = [suite for _, evaluation in columns for suite in evaluation.black_box.values()]
    attacks = list(dict.fromkeys(attack.name for suite in suites for attack in suite.attacks))
    differing = differences([evaluation for _, evaluation in columns])
    return Transfer(
        targets=tuple((i, name) for i, name, _ in targets),
        worst=_matrix("worst attack", sources, columns, lambda suite: suite.worst.accuracy),
        attacks=tuple(_matrix(attack, sources, columns, _under(attack)) for attack in attacks) if len(attacks) > 1 else (),
        differing=listing(differing) if differing else "",
    )


def _matrix(attack: str, sources: Sequence[str], columns: Sequence[tuple[str, Evaluation]], pick: Pick) -> Matrix:
    return Matrix(
        attack, tuple((source, tuple(_cell(source, name, evaluation, pick) for name, evaluation in columns)) for source in sources)
    )


def _cell(source: str, target: str, evaluation: Evaluation, pick: Pick) -> Cell | None:
    suite = evaluation.black_box.get(source)
    white_box = suite is None and source == target
    if white_box:
        suite = evaluation.white_box
    accuracy = pick(suite) if suite else None
    return Cell(accuracy, white_box) if accuracy else None


def _under(attack: str) -> Pick:
    return lambda suite: next((attacked.accuracy for attacked in suite.attacks if attacked.name == attack), None)
