"""A run directory, read for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from logitpair.errors import InputError, first_line
from logitpair.storage.atomic_files import read_json_lines
from logitpair.storage.result_files import read_ledger, read_record
from logitpair.storage.results import AuditResults, EvaluationResults, Results, Training

Ledger = Mapping[str, np.ndarray]
_Results = TypeVar("_Results", bound=Results)


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """What a run directory holds; equal only to itself, for its ledgers hold arrays.

    Args:
        name: of its folder.
        path: as commands name it, never absolute.
        recipe: that it was trained by; None without a ``config.yaml``.
        scale: of the recipe.
        settings: the resolved settings.
        evaluations: ``test`` first, then those of the most images, and of as many the one with the lowest accuracy under attack.
        ledgers: of the evaluations; empty where there is no file.
        metrics: the lines of ``metrics.jsonl``.
        training: None until it is done.
        audit: None where it is not audited.
        audit_ledger: of the audit.
    """

    name: str
    path: str
    recipe: str | None = None
    scale: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    evaluations: tuple[EvaluationResults, ...] = ()
    ledgers: tuple[Ledger, ...] = ()
    metrics: tuple[Mapping[str, Any], ...] = ()
    training: Training | None = None
    audit: AuditResults | None = None
    audit_ledger: Ledger = field(default_factory=dict)

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
    """Read a run directory; whatever is not there yet is left empty.

    Raises:
        InputError: if nothing is there to show, or a file is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"RUN: no folder '{folder}'; give one that `logitpair train` wrote")
    metrics = [line for line in read_json_lines(folder / "metrics.jsonl") if "step" in line]
    found = sorted(folder.glob("evaluation/*/results.json"))
    audited, trained = folder / "audit" / "results.json", folder / "training.json"
    if not metrics and not found and not audited.exists():
        raise InputError(f"RUN: '{folder}' holds no evaluation, no audit and no metrics; run `logitpair evaluate {folder}` first")
    config = _config(folder / "config.yaml")
    evaluations = sorted(
        (_read(path, EvaluationResults, f"logitpair evaluate {folder}") for path in found), key=lambda pair: _rank(pair[0])
    )
    audit, audit_ledger = _read(audited, AuditResults, f"logitpair audit {folder}") if audited.exists() else (None, {})
    return Run(
        name=folder.resolve().name,
        path=portable(folder),
        recipe=config.get("recipe"),
        scale=config.get("scale"),
        settings=config.get("run", {}),
        evaluations=tuple(results for results, _ in evaluations),
        ledgers=tuple(ledger for _, ledger in evaluations),
        metrics=tuple(metrics),
        training=read_record(trained, Training, f"logitpair train --out {folder}") if trained.exists() else None,
        audit=audit,
        audit_ledger=audit_ledger,
    )


def portable(path: Path) -> str:
    """The path as another machine would name it: relative to here, or ``runs/NAME`` for one from elsewhere."""
    if not path.is_absolute():
        return path.as_posix()
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) and path != here else f"runs/{path.name}"


def _rank(evaluation: EvaluationResults) -> tuple[bool, int, float, str]:
    return evaluation.name != "test", -evaluation.examples, evaluation.white_box.top1, evaluation.name


def _read(path: Path, kind: type[_Results], writer: str) -> tuple[_Results, Ledger]:
    results, ledger = read_record(path, kind, writer), path.with_name("ledger.npz")
    if trouble := _trouble(results):
        raise InputError(f"'{path}' is damaged or incomplete ({trouble}); run `{writer}` again")
    return results, read_ledger(ledger, results, writer) if ledger.exists() else {}


def _trouble(results: Results) -> str:
    """What does not fit together; empty where all does."""
    if len(results.class_names) != results.classes:
        return f"{len(results.class_names)} class names for {results.classes} classes"
    if isinstance(results, EvaluationResults):
        for worst, attacks in ((results.white_box, results.attacks), *((suite, suite.attacks) for suite in results.black_box.values())):
            if worst.attack not in attacks:
                return f"the worst attack '{worst.attack}' is not among the attacks"
            if worst.confusion and {len(worst.confusion), *map(len, worst.confusion)} != {results.classes}:
                return f"the confusion counts are not {results.classes} by {results.classes}"
    return ""


def _config(path: Path) -> dict[str, Any]:
    """The content of a ``config.yaml``; empty where there is none."""
    try:
        config = yaml.safe_load(path.read_text()) if path.exists() else {}
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"'{path}' is damaged ({first_line(error)})") from error
    if not isinstance(config, dict) or not isinstance(config.get("run", {}), dict):
        raise InputError(f"'{path}' is damaged (it holds no settings)")
    return config
