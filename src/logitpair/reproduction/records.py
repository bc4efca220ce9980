"""Where a run lies, what is recorded of it, and what the seeds of a table's row come to. Imports no torch."""

from __future__ import annotations

import contextlib
import functools
import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from logitpair.config import recipes
from logitpair.errors import InputError
from logitpair.evaluation.confidence import wilson
from logitpair.reproduction.paper import Row, Target
from logitpair.storage.result_files import read_record, write_record
from logitpair.storage.results import (
    SCHEMA,
    Accuracy,
    AuditResults,
    Axis,
    CertificateResults,
    EvaluationResults,
    Record,
    SweepResults,
    SweepRun,
    Training,
)
from logitpair.sweeps import grid, record

WRITER = "logitpair reproduce"
FILES: dict[type[Record], str] = {  # in a run directory
    Training: "training.json",
    EvaluationResults: "evaluation/test/results.json",
    AuditResults: "audit/results.json",
    CertificateResults: "certificate/results.json",
}
RECORDED: dict[type[EvaluationResults] | type[AuditResults] | type[CertificateResults], str] = {
    EvaluationResults: "results.json",
    AuditResults: "audit.json",
    CertificateResults: "certificate.json",
}
Kind = TypeVar("Kind", bound=Record)
Measurements = TypeVar("Measurements", EvaluationResults, AuditResults)
recipe_of = functools.cache(recipes.load)  # none is changed here


@dataclass(frozen=True)
class Run:
    """A training: a recipe with settings of its own under a seed. Targets that want the same one share it."""

    recipe: str
    settings: tuple[tuple[str, str], ...]
    seed: int

    @classmethod
    def of(cls, row: Row, seed: int) -> Run:
        """The run of a row."""
        return cls(row.recipe, tuple(row.settings.items()), seed)

    @property
    def static_sources(self) -> list[Run]:
        """The runs that ensemble adversarial training takes its static sources from: of the recipes that its own names its sources by."""
        settings = recipe_of(self.recipe).run["objective"].get("init_args", {})
        return [Run(Path(source["init_args"]["run"]).name, (), self.seed) for source in settings.get("sources", [])]

    def path(self, scale: str) -> Path:
        """``RECIPE/SCALE/[setting=value/]seed-N``: of the run directory below ``runs``, and of its records below ``results``."""
        return Path(self.recipe, scale, grid.folder(dict(self.settings), self.seed))


def finished(run_directory: Path, kind: type[Kind]) -> Kind | None:
    """What a run directory holds of a kind; None where that is not there or cannot be read."""
    return _read(run_directory / FILES[kind], kind)


def recorded(records: Path, kind: type[Measurements]) -> Measurements | None:
    """Likewise what a folder of records holds of a run."""
    return _read(records / RECORDED[kind], kind)


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        return read_record(path, kind, WRITER)
    except InputError:
        return None


def keep(run_directory: Path, records: Path, *, besides: Container[type[Record]] = ()) -> None:
    """Copy what a run directory holds of measurements ``besides`` those kinds into a folder of records, without this machine's paths."""
    for kind, name in RECORDED.items():
        if kind not in besides and (results := finished(run_directory, kind)):
            sources = {source: replace(known, run=source) for source, known in results.sources.items()}
            write_record(records / name, replace(results, sources=sources))


def keep_sweep(runs: Sequence[Run], scale: str, run_directories: Path, records: Path) -> Path:
    """Add the runs of one recipe to the sweep over their settings in its folder of records, which is returned."""
    folder = records / runs[0].recipe / scale
    before = record.read(folder).runs if (folder / "sweep.json").exists() else ()
    entries = {run.path: run for run in before}
    for run in runs:
        path = str(run.path(scale).relative_to(folder.relative_to(records)))
        settings = {setting: grid.value(text) for setting, text in run.settings}
        new = SweepRun(path=path, settings=settings, seed=run.seed, evaluation={}, status="pending")
        with contextlib.suppress(InputError):
            new = entries[path] = record.finished(new, run_directories / run.path(scale))
        entries.setdefault(path, new)
    axes = {setting: dict.fromkeys(entry.settings[setting] for entry in entries.values()) for setting, _ in runs[0].settings}
    head = SweepResults(
        schema=SCHEMA,
        recipe=runs[0].recipe,
        scale=scale,
        overrides={},
        axes=tuple(Axis(setting=setting, values=tuple(values)) for setting, values in axes.items()),
        seeds=tuple(sorted({entry.seed for entry in entries.values()})),
        runs=(),
        points=(),
    )
    record.write(folder, head, entries.values())
    return folder


def swept_evaluations(folder: Path) -> set[str]:
    """When the evaluations were made that the sweep in a recipe's folder of records has; none without a sweep.

    Raises:
        InputError: for a sweep that cannot be read.
    """
    if not (folder / "sweep.json").exists():
        return set()
    try:
        return {run.evaluated for run in record.read(folder).runs if run.status == "finished" and run.evaluated}
    except InputError as error:
        raise InputError(f"--records: '{folder / 'sweep.json'}' is damaged, or of another version; move it away") from error


def sweeps_of(target: Target) -> list[str]:
    """The recipes whose runs a figure shows as sweeps."""
    return list(dict.fromkeys(row.recipe for row in target.rows)) if target.figure else []


@dataclass(frozen=True)
class Measured:
    """What is recorded of a row at a scale, by seed."""

    evaluations: Mapping[int, EvaluationResults]
    audits: Mapping[int, AuditResults]

    @classmethod
    def read(cls, row: Row, scale: str, records: Path) -> Measured:
        """From the folder that all records lie in; an audit of another network than the evaluation beside it is left out.

        Raises:
            InputError: for a record that cannot be read, or is of another recipe or scale than its folder says.
        """
        folders = (records / Run.of(row, 0).path(scale)).parent.glob("seed-*")
        seeds = sorted(int(seed) for folder in folders if (seed := folder.name.removeprefix("seed-")).isdecimal())

        def read(kind: type[Measurements]) -> dict[int, Measurements]:
            found: dict[int, Measurements] = {}
            for seed in seeds:
                path = records / Run.of(row, seed).path(scale) / RECORDED[kind]
                if path.exists():
                    found[seed] = each = read_record(path, kind, f"{WRITER} --seeds {seed + 1}")
                    if (each.recipe, each.scale) != (row.recipe, scale):
                        raise InputError(f"--records: '{path}' is of {each.recipe}, scale {each.scale}; move it to where it belongs")
            return found

        evaluations, audits = read(EvaluationResults), read(AuditResults)
        apart = {seed for seed, audit in audits.items() if seed in evaluations and not is_of_one_network(evaluations[seed], audit)}
        return cls(evaluations, {seed: audit for seed, audit in audits.items() if seed not in apart})

    def accuracies(self, target: Target, row: Row, column: str) -> dict[int, Accuracy]:
        """A column of the table by seed; those without it are left out."""
        found = {seed: accuracy(results, column, target.sources_of(row)) for seed, results in self.evaluations.items()}
        return {seed: each for seed, each in found.items() if each}

    def audited(self) -> dict[int, Accuracy]:
        """What the audits left, by seed."""
        return {seed: audit.robust_accuracy for seed, audit in self.audits.items()}


def is_of_one_network(evaluation: EvaluationResults, audit: AuditResults) -> bool:
    """Whether an evaluation and an audit are of the same training and weights."""
    return (evaluation.training, evaluation.weights) == (audit.training, audit.weights)


def accuracy(results: EvaluationResults, column: str, sources: tuple[str, ...]) -> Accuracy | None:
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
    return of_share(min(shares), results.examples) if shares else None


def of_share(share: float, total: int) -> Accuracy:
    """So large a share of ``total`` images, with its interval."""
    correct = round(share * total)
    return Accuracy(top1=share, correct=correct, total=total, ci95=wilson(correct, total))


def mean(seeds: Iterable[Accuracy]) -> Accuracy | None:
    """The mean over the seeds with the interval of one of them, for the images are the same; None without any.

    Where they are not as many, it is the interval of the fewest, the widest.
    """
    each = list(seeds)
    return of_share(statistics.fmean(one.top1 for one in each), min(one.total for one in each)) if each else None
