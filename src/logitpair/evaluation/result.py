"""The result of an evaluation: a record for people and a ledger of every example, and their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from logitpair.errors import InputError
from logitpair.storage.recorded import Recorded
from logitpair.storage.results import Accuracy, EvaluationResults
from logitpair.storage.text import markdown, percent

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

COLUMNS = ("threat", "attack", "accuracy %", "95% interval", "correct", "top-5 %")


class Evaluation(Recorded[EvaluationResults]):
    """What ``logitpair.evaluate`` returns.

    Args:
        record: the content of ``results.json``; its fields are described in ``docs/results.md``. Accuracies are fractions.
        ledger: arrays with one row an example: ``y``, ``clean/prediction``, ``<setting>/<attack>/prediction`` and ``/distance``,
            where the setting is ``white_box`` or a source's name; besides them the first few examples'
            images, ``gallery/x`` and ``gallery/white_box/<attack>``.
    """

    kind = EvaluationResults
    writer = "logitpair evaluate"

    def rows(self) -> list[tuple[str, ...]]:
        """The lines of the table as text, under ``COLUMNS``: one for each attack, and the worst case over them."""
        record = self.record
        rows = [_row("clean", "-", record.clean)]
        rows += [_row("white box", name, attack) for name, attack in record.attacks.items()]
        rows += [_row("white box, worst", record.white_box.attack, record.white_box)]
        rows += [_row("white box, any attack", "union", record.white_box_union)]
        for source, suite in record.black_box.items():
            rows += [_row(f"black box from {source}", name, attack) for name, attack in suite.attacks.items()]
            if len(suite.attacks) > 1:
                rows += [_row(f"black box from {source}, worst", suite.attack, suite)]
                rows += [_row(f"black box from {source}, any attack", "union", suite.union)]
        for published in record.published:
            for measure in ("clean", "white_box", "black_box"):
                top1, top5 = getattr(published, measure), getattr(published, f"{measure}_top5", None)
                if top1 is not None:
                    numbers = percent(top1), "-", "-", "-" if top5 is None else percent(top5)
                    rows.append((f"published: {measure.replace('_', ' ')}", published.source, *numbers))
        return rows

    def table(self) -> str:
        """The results as a Markdown table, in percent with the 95% interval."""
        return markdown(COLUMNS, self.rows())

    def plots(self) -> dict[str, Figure]:
        """Figures of this evaluation by name; those that there is something to draw for.

        ``attacks``: accuracy under each attack; ``eps``: against the radius; ``steps`` and ``restarts``: against the length of the search.
        """
        from logitpair.report.figures.evaluation_figures import evaluation_figures  # here, because importing matplotlib takes time

        return evaluation_figures(self.record)

    def to_pandas(self) -> pandas.DataFrame:
        """The ledger's columns as a table with one row an example, by its position in the data; without the gallery's images.

        Raises:
            InputError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("pandas is not installed; run `pip install pandas`") from error

        columns = {name: column for name, column in self.ledger.items() if not name.startswith("gallery/") and column.ndim == 1}
        return pandas.DataFrame(columns, index=pandas.RangeIndex(len(self.ledger["y"]), name="example"))


def _row(threat: str, attack: str, accuracy: Accuracy) -> tuple[str, ...]:
    top5 = "-" if accuracy.top5 is None else ("<= " if accuracy.top5_is_upper_bound else "") + percent(accuracy.top5)
    interval = " - ".join(map(percent, accuracy.ci95))
    return threat, attack, percent(accuracy.top1), interval, f"{accuracy.correct} / {accuracy.total}", top5
