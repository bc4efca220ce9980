"""What run directories and a folder of records hold of a run, and how the one is copied into the other. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Generator, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.reproduction.measurement import is_of_one_network
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.storage.result_files import read_record, read_whole, write_record
from logitpair.storage.results import (
    SCHEMA,
    AuditResults,
    Axis,
    CertificateResults,
    EvaluationResults,
    Record,
    Results,
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


def in_run_directory(folder: Path, kind: type[Kind]) -> Kind | None:
    """What a run directory holds of a kind; None where that is not there or cannot be read, for then it is done again."""
    return read_whole(folder / FILES[kind], kind)


def in_records(folder: Path, kind: type[Measurements]) -> Measurements | None:
    """What a folder of records holds of a run; None where that is not there.

    Raises:
        InputError: for a record that is damaged, contradicts itself or is of another version: it would be written over.
    """
    path = folder / RECORDED[kind]
    with _of_records():
        return read_record(path, kind, WRITER) if path.exists() else None


def recorded_sweep(folder: Path, besides: Container[Path] = ()) -> SweepResults | None:
    """The sweep in a recipe's folder of records, or None where no run of it is finished.

    A run is finished if its very evaluation is recorded there, in another file than those ``besides``; else it is pending, so that its
    point is not whole.

    Raises:
        InputError: for one that is damaged, of another version, of another recipe or scale than its folder says, or that has other
            accuracies than the record of a run.
    """
    if not (path := folder / "sweep.json").exists():
        return None
    with _of_records():
        sweep = record.read(folder, WRITER)
    if (sweep.recipe, sweep.scale) != (folder.parent.name, folder.name):
        raise InputError(f"'{path}' is of {sweep.recipe}, scale {sweep.scale}; move it to where it belongs")
    runs: dict[str, SweepRun] = {}
    for run in sweep.runs:
        place = grid.folder({setting: str(value) for setting, value in run.settings.items()}, run.seed)
        results = in_records(folder / place, EvaluationResults)
        wanted = run.path == place and folder / place / RECORDED[EvaluationResults] not in besides
        if not (wanted and results and run.evaluated == results.created and run.clean and run.white_box):
            runs[run.path] = SweepRun(path=run.path, settings=run.settings, seed=run.seed, evaluation=run.evaluation, status="pending")
        elif (results.clean.top1, results.worst_case.top1) != (run.clean.top1, run.white_box.top1):
            raise InputError(f"'{path}' and '{folder / place}' contradict each other; move one away")
        else:
            runs[run.path] = run
    if not any(run.status == "finished" for run in runs.values()):
        return None
    points = tuple(record.summarize(runs.values()))
    return replace(sweep, runs=tuple(runs.values()), points=points, best=record.best(points))


@contextlib.contextmanager
def _of_records() -> Generator[None]:
    """A block in which the refusal of a record says what to do with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{str(error).rpartition('; ')[0]}; move it away") from error


def keep(run_directory: Path, records: Path, *, besides: Container[type[Record]] = ()) -> None:
    """Copy what a run directory holds of measurements ``besides`` those kinds into a folder of records, without this machine's paths.

    A certificate is copied, and stays, only beside an evaluation of its network: another would pass for a bound on it.
    """
    for kind, name in RECORDED.items():
        results = None if kind in besides else in_run_directory(run_directory, kind)
        if results and (kind is not CertificateResults or _has_company(results, records)):
            sources = {source: replace(known, run=source) for source, known in results.sources.items()}
            write_record(records / name, replace(results, sources=sources))
    before = read_whole(path := records / RECORDED[CertificateResults], CertificateResults)
    if before and read_whole(records / RECORDED[EvaluationResults], EvaluationResults) and not _has_company(before, records):
        path.unlink()  # of a network that was trained anew since


def _has_company(certificate: Results, records: Path) -> bool:
    """Whether the evaluation in a folder of records is of the certificate's network."""
    evaluation = read_whole(records / RECORDED[EvaluationResults], EvaluationResults)
    return evaluation is not None and is_of_one_network(evaluation, certificate)


def keep_sweep(runs: Sequence[PlannedRun], scale: str, run_directories: Path, records: Path) -> None:
    """Add the runs of one recipe to the sweep over their settings in its folder of records."""
    folder = records / runs[0].recipe / scale
    before = recorded_sweep(folder)
    entries = {run.path: run for run in before.runs if run.status == "finished"} if before else {}
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
