"""What is recorded of a table's row, and what its seeds come to. Imports no torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from logitpair.errors import InputError
from logitpair.evaluation.confidence import Share
from logitpair.reproduction.paper import Row, Target
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.reproduction.record_files import RECORDED, Measurements, in_records
from logitpair.storage.results import Accuracy, AuditResults, EvaluationResults


@dataclass(frozen=True)
class RecordedRow:
    """What is recorded of a row at a scale, by seed."""

    evaluations: Mapping[int, EvaluationResults]
    audits: Mapping[int, AuditResults]

    @classmethod
    def read(cls, row: Row, scale: str, records: Path) -> RecordedRow:
        """From the folder that all records lie in; an audit of another network than the evaluation beside it is left out.

        Raises:
            InputError: for a record that cannot be read, is of another recipe or scale than its folder says, or of another seed's network.
        """
        folders = (records / PlannedRun.of(row, 0).path(scale)).parent.glob("seed-*")
        seeds = sorted(int(seed) for folder in folders if (seed := folder.name.removeprefix("seed-")).isdecimal())

        def read(kind: type[Measurements]) -> dict[int, Measurements]:
            found: dict[int, Measurements] = {}
            paths: dict[str, Path] = {}  # by the network's weights
            for seed in seeds:
                folder = records / PlannedRun.of(row, seed).path(scale)
                if each := in_records(folder, kind):
                    found[seed], path = each, folder / RECORDED[kind]
                    if (each.recipe, each.scale) != (row.recipe, scale):
                        raise InputError(f"'{path}' is of {each.recipe}, scale {each.scale}; move it to where it belongs")
                    if each.weights and (same := paths.setdefault(each.weights, path)) != path:
                        raise InputError(f"'{same}' and '{path}' are of one network under two seeds; move one away")
            return found

        evaluations, audits = read(EvaluationResults), read(AuditResults)
        apart = {seed for seed, audit in audits.items() if seed in evaluations and not is_of_one_network(evaluations[seed], audit)}
        return cls(evaluations, {seed: audit for seed, audit in audits.items() if seed not in apart})

    def accuracies(self, target: Target, row: Row, column: str) -> dict[int, Accuracy | Share]:
        """A column of the table by seed; those without it are left out."""
        found = {seed: accuracy(results, column, target.sources_of(row)) for seed, results in self.evaluations.items()}
        return {seed: each for seed, each in found.items() if each}

    @property
    def counts(self) -> str:
        """How many seeds were evaluated, and how many audited where that is another number."""
        evaluated, audited = len(self.evaluations), len(self.audits)
        return "not run" if not evaluated else str(evaluated) if audited in (0, evaluated) else f"{evaluated}, audited {audited}"

    def audited(self) -> dict[int, Accuracy]:
        """What the audits left, by seed."""
        return {seed: audit.robust_accuracy for seed, audit in self.audits.items()}


def is_of_one_network(evaluation: EvaluationResults, audit: AuditResults) -> bool:
    """Whether an evaluation and an audit are of the same training and weights."""
    return (evaluation.training, evaluation.weights) == (audit.training, audit.weights)


def accuracy(results: EvaluationResults, column: str, sources: tuple[str, ...]) -> Accuracy | Share | None:
    """A column of a table: black box the worst of all sources, and top-5 as if it were top-1; None where it was not measured."""
    setting = column.removesuffix("_top5")
    suites = [results.black_box[name] for name in sources if name in results.black_box]
    if setting == "black_box" and len(suites) < max(1, len(sources)):
        return None
    white_box = [results.white_box] if results.white_box else []
    found: list[Accuracy] = [results.clean] if setting == "clean" else [*white_box] if setting == "white_box" else [*suites]
    if setting == column:
        return min(found, key=lambda each: each.top1, default=None)
    shares = [each.top5 for each in found if each.top5 is not None]
    return Share.of(min(shares), results.examples) if shares else None


def mean(seeds: Iterable[Accuracy | Share]) -> Share | None:
    """The mean over the seeds with the interval of one of them, for the images are the same; None without any.

    Where they are not as many, it is the interval of the fewest, the widest.
    """
    each = list(seeds)
    return Share.of(statistics.fmean(one.top1 for one in each), min(one.total for one in each)) if each else None
