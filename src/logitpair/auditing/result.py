"""The result of an audit: a record for people and a ledger of every example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from logitpair.auditing.convergence import outlook
from logitpair.evaluation.confidence import percent
from logitpair.evaluation.result import Recorded, markdown, numbers_of
from logitpair.storage.results import Accuracy, AuditResults, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("", "accuracy %", "95% interval", "correct", "gradients per image")
CHECK_COLUMNS = ("check", "", "what was measured")


class Audit(Recorded[AuditResults]):
    """What ``logitpair.audit`` returns.

    Args:
        record: the content of ``results.json``; its fields are described in ``docs/results.md``. Accuracies are fractions.
        ledger: arrays with one row an example: ``y``, ``clean/prediction``, ``broken_in_round`` (the number of the round, -1: still
            correct, -2: misclassified without any attack), ``certified``, ``prediction``, ``finite``, ``margin``, ``distance``,
            ``restart``, ``step``, ``gradients``, ``forwards``, ``broken_8_bit``; besides them the first few examples' images and what the
            figures are drawn from.
    """

    kind = AuditResults
    writer = "logitpair audit"

    @property
    def verdict(self) -> Verdict:
        """``trustworthy``, ``overestimated`` or ``inconclusive``."""
        return self.record.verdict

    @property
    def robust_accuracy(self) -> float:
        """What no search broke, as a fraction of the examples."""
        return self.record.robust_accuracy.top1

    def rows(self) -> list[tuple[str, ...]]:
        """The lines of the table as text, under ``COLUMNS``: clean, the reference attack, and what was still correct after the rounds."""
        record, reference = self.record, self.record.reference
        rows = [_row("clean", record.clean, None), _row("reference attack", reference, reference.gradient_evaluations_per_example)]
        first = 1
        for number, done in enumerate(record.rounds, 1):
            if not any(entry.broken for entry in record.rounds[number - 1 : number + 1]) and number < len(record.rounds):
                continue  # rounds in a row that broke none share the line of the last of them
            which = f"{number}: {done.strategy}" if first == number else f"{first} to {number}, which broke none"
            left, correct = percent(done.still_correct / record.examples), f"{done.still_correct} / {record.examples}"
            rows.append((f"after {which}", left, "-", correct, f"{done.gradients_per_example:.1f}"))
            first = number + 1
        certified = [_row("certified", record.certified, None)] if record.certified else []
        return [*rows, _row("audit", record.robust_accuracy, record.gradient_evaluations_per_example), *certified]

    def check_rows(self) -> list[tuple[str, ...]]:
        """The lines of the table of checks as text, under ``CHECK_COLUMNS``."""
        return [(found.check, "passed" if found.passed else "FAILED", found.evidence) for found in self.record.findings]

    def table(self) -> str:
        """Verdict, accuracies, what more search would find, and checks as Markdown."""
        tables = markdown(COLUMNS, self.rows()), outlook(self.record), markdown(CHECK_COLUMNS, self.check_rows())
        return "\n\n".join(part for part in (f"**{self.verdict}**: {self.record.reason}.", *tables) if part)

    def plots(self) -> dict[str, Figure]:
        """Figures of this audit by name, those that there is something to draw for.

        ``convergence``: accuracy against gradients spent; ``restarts``: margins at the ends of the reference attack's restarts;
        ``surfaces``: the margin around a few images; ``eps``: accuracy of the checks' sample against the radius.
        """
        from logitpair.report.figures.audit_figures import audit_figures  # here, because importing matplotlib takes time

        return audit_figures(self.record, self.ledger)


def _row(name: str, accuracy: Accuracy, gradients: float | None) -> tuple[str, ...]:
    return name, *numbers_of(accuracy), "-" if gradients is None else f"{gradients:.1f}"
