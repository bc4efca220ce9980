"""Run directories and sweeps, read for the report."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from logitpair.config.old_names import modernized
from logitpair.config.recipes import read_yaml
from logitpair.errors import InputError
from logitpair.storage.atomic_files import read_json_lines
from logitpair.storage.result_files import Ledger, OtherSchema, read_ledger, read_record
from logitpair.storage.results import AuditResults, CertificateResults, EvaluationResults, Results, SweepPoint, SweepResults, Training
from logitpair.storage.run_folder import CONFIG, no_run
from logitpair.sweeps import record

_Results = TypeVar("_Results", bound=Results)


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """What a run directory holds; equal only to itself, for its ledgers hold arrays."""

    name: str  # of its folder
    path: str  # as commands name it, never absolute
    recipe: str | None = None  # that it was trained by; None without a config.yaml
    scale: str | None = None  # of the recipe
    settings: Mapping[str, Any] = field(default_factory=dict)  # as resolved, by the names of today
    evaluations: tuple[EvaluationResults, ...] = ()  # `test`, then those of the most images, of as many the one most often fooled
    ledgers: tuple[Ledger, ...] = ()  # of the evaluations; empty where there is no file
    metrics: tuple[Mapping[str, Any], ...] = ()  # the lines of metrics.jsonl
    training: Training | None = None  # None until it is done
    audit: AuditResults | None = None
    audit_ledger: Ledger = field(default_factory=dict)
    certificate: CertificateResults | None = None

    @property
    def main(self) -> EvaluationResults | None:
        """The evaluation that comparisons use."""
        return self.evaluations[0] if self.evaluations else None

    @property
    def transfer(self) -> EvaluationResults | None:
        """The evaluation on images made against other networks: the latest that `logitpair transfer` wrote, or else the main one."""
        transfers = [evaluation for evaluation in self.evaluations if evaluation.transfer]
        return max(transfers, key=lambda evaluation: evaluation.created, default=self.main)


def load_run(folder: Path) -> Run:
    """Read a run directory; whatever is not there yet is left empty, but where nothing is it is refused."""
    if not folder.is_dir():
        raise no_run(folder, "")
    metrics = [line for line in read_json_lines(folder / "metrics.jsonl") if "step" in line]
    evaluated, audited, trained = folder.glob("evaluation/*/results.json"), folder / "audit" / "results.json", folder / "training.json"
    evaluate = f"logitpair evaluate {folder} --name"
    read = [_read(path, EvaluationResults, f"{evaluate} {path.parent.name}") for path in sorted(evaluated)]
    evaluations = [pair for pair in read if pair]
    certified = folder / "certificate" / "results.json"
    if not metrics and not evaluations and not audited.exists() and not certified.exists():
        if not (folder / CONFIG).is_file():
            raise no_run(folder, "holds no evaluation, no audit and no metrics")
        raise InputError(f"RUN: '{folder}' holds no evaluation, no audit and no metrics; run `logitpair evaluate {folder}` first")
    evaluations.sort(key=lambda pair: (pair[0].name != "test", -pair[0].examples, pair[0].worst_case.top1, pair[0].name))
    audit, audit_ledger = (audited.exists() and _read(audited, AuditResults, f"logitpair audit {folder}")) or (None, {})
    certificate, _ = (certified.exists() and _read(certified, CertificateResults, f"logitpair certify {folder}")) or (None, {})
    config = _config(folder / CONFIG)
    recipe = config.get("recipe", "RECIPE")
    if audit and evaluations and audit.checkpoint == evaluations[0][0].checkpoint and audit.weights != evaluations[0][0].weights:
        warnings.warn(f"the audit in {folder} and its evaluation '{evaluations[0][0].name}' are of different networks", stacklevel=2)
    return Run(
        name=folder.resolve().name,
        path=portable(folder),
        recipe=config.get("recipe"),
        scale=config.get("scale"),
        settings=modernized(config.get("run", {})),
        evaluations=tuple(results for results, _ in evaluations),
        ledgers=tuple(ledger for _, ledger in evaluations),
        metrics=tuple(metrics),
        training=read_record(trained, Training, f"logitpair train {recipe} --out {folder}") if trained.exists() else None,
        audit=audit,
        audit_ledger=audit_ledger,
        certificate=certificate,
    )


def portable(path: Path) -> str:
    """The path as another machine would name it: relative to here, or ``runs/NAME`` for one from elsewhere."""
    if not path.is_absolute():
        return path.as_posix()
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) and path != here else f"runs/{path.name}"


class _Part(msgspec.Struct):
    init_args: dict[str, Any] = {}


class _Evaluation(msgspec.Struct):
    attacks: dict[str, _Part] = {}


class _Settings(msgspec.Struct):
    data: _Part = msgspec.field(default_factory=_Part)
    model: _Part | None = None
    objective: _Part | None = None
    fine_tuning: dict[str, Any] | None = None
    evaluation: _Evaluation = msgspec.field(default_factory=_Evaluation)
    epochs: float = 0
    seed: int = 0


class _Config(msgspec.Struct):
    """What a page takes from a ``config.yaml``, as far as it must be of a kind."""

    recipe: str | None = None
    scale: str | None = None
    run: _Settings = msgspec.field(default_factory=_Settings)


def _read(path: Path, kind: type[_Results], writer: str) -> tuple[_Results, Ledger] | None:
    """Results and their ledger; None, with a warning, for those of another version."""
    try:
        results, ledger = read_record(path, kind, writer), path.with_name("ledger.npz")
    except OtherSchema as error:
        warnings.warn(f"left out: {str(error).partition(';')[0]}; measure again", stacklevel=3)
        return None
    return results, read_ledger(ledger, results, writer) if ledger.exists() else {}


def _config(path: Path) -> dict[str, Any]:
    """The content of a ``config.yaml``; empty where there is none."""
    config = read_yaml(path) if path.exists() else {}
    try:
        msgspec.convert(config, _Config)
    except msgspec.ValidationError as error:
        raise InputError(f"'{path}' is damaged ({error})") from error
    return config


def load_sweep(folder: Path) -> SweepResults:
    """Read a folder that ``logitpair sweep`` wrote, ``by_size``."""
    return by_size(record.read(folder))


def by_size(sweep: SweepResults) -> SweepResults:
    """A sweep with axes of numbers, and their points, by size."""
    axes = tuple(replace(axis, values=tuple(ordered(axis.values))) for axis in sweep.axes)
    points = sorted(sweep.points, key=lambda point: [axis.values.index(point.settings[axis.setting]) for axis in axes])
    return replace(sweep, axes=axes, points=tuple(points))


def ordered(values: Sequence[Any]) -> list[Any]:
    """Without repetition; numbers by size, anything else as it comes."""
    distinct = [value for i, value in enumerate(values) if value not in values[:i]]
    return sorted(distinct) if all(isinstance(value, int | float) for value in distinct) else distinct


def name_of(sweep: SweepResults) -> str:
    """Its recipe, and the scale where it is not the paper's."""
    return sweep.recipe if sweep.scale == "paper" else f"{sweep.recipe} (scale {sweep.scale})"


def best_point(sweep: SweepResults) -> SweepPoint | None:
    """The point to choose."""
    return next((point for point in sweep.points if sweep.best and point.settings == sweep.best.settings), None)
