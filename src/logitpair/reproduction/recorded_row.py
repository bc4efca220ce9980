"""What is recorded of a table's row, and what its seeds come to. Imports no torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from logitpair.errors import InputError
from logitpair.evaluation.confidence import Share
from logitpair.reproduction.measurement import Measurement, is_of_one_network
from logitpair.reproduction.paper import Row, Target
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.reproduction.record_files import RECORDED, in_records
from logitpair.storage.results import Accuracy, AuditResults, EvaluationResults


@dataclass(frozen=True)
class RecordedRow:
    """What is recorded of a row at a scale, by seed."""

    evaluations: Mapping[int, EvaluationResults]
    audits: Mapping[int, AuditResults]
    left_out: Mapping[Path, str] = field(default_factory=dict[Path, str])  # names of the records that the target does not want, by file

    @classmethod
    def read(cls, target: Target, row: Row, scale: str, records: Path) -> RecordedRow:
        """From the folder that all records lie in; what is not as the target wants it is left out.

        Raises:
            InputError: for a record that cannot be read, or is of another recipe or scale than its folder says.
        """
        folders = (records / PlannedRun.of(row, 0).path(scale)).parent.glob("seed-*")
        seeds = sorted({int(seed) for folder in folders if (seed := folder.name.removeprefix("seed-")).isdecimal()})
        evaluations, audits, left_out = dict[int, EvaluationResults](), dict[int, AuditResults](), dict[Path, str]()
        for seed in seeds:
            run = PlannedRun.of(row, seed)
            folder, wanted = records / run.path(scale), Measurement.of(target, row, run, scale)
            evaluation, audit = in_records(folder, EvaluationResults), in_records(folder, AuditResults)
            for results in filter(None, (evaluation, audit)):
                if (results.recipe, results.scale) != (row.recipe, scale):
                    path = folder / RECORDED[type(results)]
                    raise InputError(f"'{path}' is of {results.recipe}, scale {results.scale}; move it to where it belongs")
            if evaluation and wanted.is_in(evaluation):
                evaluations[seed] = evaluation
            elif evaluation:
                left_out[folder / RECORDED[EvaluationResults]] = f"{row.method}, seed {seed}: the evaluation"
            if audit and wanted.is_judged_by(audit) and (seed not in evaluations or is_of_one_network(evaluations[seed], audit)):
                audits[seed] = audit
            elif audit:
                left_out[folder / RECORDED[AuditResults]] = f"{row.method}, seed {seed}: the audit"
        return cls(evaluations, audits, left_out)

    def accuracies(self, target: Target, row: Row, column: str) -> dict[int, Accuracy | Share]:
        """A column of the table by seed; those without it are left out."""
        found = {seed: accuracy(results, column, target.sources_of(row)) for seed, results in self.evaluations.items()}
        return {seed: each for seed, each in found.items() if each}

    @property
    def counts(self) -> str:
        """How many seeds were evaluated, and how many audited where these are not all of them; their names where some are other ones."""
        evaluated, audited = self.evaluations.keys(), self.audits.keys()
        if not (evaluated or audited):
            return "not run"
        if audited <= evaluated:
            return str(len(evaluated)) if len(audited) in (0, len(evaluated)) else f"{len(evaluated)}, audited {len(audited)}"
        return ", audited ".join(f"{len(seeds)} (seed {', '.join(map(str, sorted(seeds)))})" for seeds in (evaluated, audited) if seeds)

    def audited(self) -> dict[int, Accuracy]:
        """What the audits left, by seed."""
        return {seed: audit.robust_accuracy for seed, audit in self.audits.items()}

    def under_images_of(self, source: str, attack: str) -> list[Accuracy]:
        """What one attack's images, made against one source, leave, one entry a seed."""
        suites = [each.black_box[source] for each in self.evaluations.values() if source in each.black_box]
        return [suite.attacks[attack] for suite in suites if attack in suite.attacks]

    def under_worst_images_of(self, sources: Sequence[str]) -> list[tuple[str, Accuracy]]:
        """What the worst attack on any of the sources leaves, and its name, one entry a seed."""
        suites = [[(name, each.black_box[name]) for name in sources if name in each.black_box] for each in self.evaluations.values()]
        worst = [min(of_one, key=lambda pair: pair[1].top1) for of_one in suites if of_one]
        return [(f"{suite.attack} on {name}", suite) for name, suite in worst]


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
