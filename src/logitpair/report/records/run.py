"""A run directory as plain values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from logitpair.errors import InputError
from logitpair.report.records.audit import Audit
from logitpair.report.records.evaluation import Evaluation
from logitpair.report.text.format import reason
from logitpair.storage.atomic_files import read_json_lines
from logitpair.storage.schema1 import read_ledger, read_results

_Record = TypeVar("_Record", Evaluation, Audit)


@dataclass(frozen=True, eq=False)
class Run:
    """What a run directory holds; equal only to itself, for its ledgers hold arrays.

    Args:
        name: of its folder.
        path: as commands name it, never absolute.
        recipe: what it was trained by; None without a ``config.yaml``.
        scale: the recipe's scale.
        settings: the resolved settings.
        evaluations: ``test`` first, then those of the most images, and of as many the one with the lowest accuracy under attack.
        metrics: the lines of ``metrics.jsonl``.
        training: the content of ``training.json``; empty until training is done.
        audit: what it really withstands; None where it is not audited.
    """

    name: str
    path: str
    recipe: str | None
    scale: str | None
    settings: Mapping[str, Any]
    evaluations: tuple[Evaluation, ...]
    metrics: tuple[Mapping[str, Any], ...]
    training: Mapping[str, Any]
    audit: Audit | None = None

    @property
    def main(self) -> Evaluation | None:
        """The evaluation that comparisons use."""
        return self.evaluations[0] if self.evaluations else None

    @property
    def transfer(self) -> Evaluation | None:
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
    results = sorted(folder.glob("evaluation/*/results.json"))
    audited = folder / "audit" / "results.json"
    if not metrics and not results and not audited.exists():
        raise InputError(f"RUN: '{folder}' holds no evaluation, no audit and no metrics; run `logitpair evaluate {folder}` first")
    config = _mapping(folder / "config.yaml")
    return Run(
        name=folder.resolve().name,
        path=portable(folder),
        recipe=config.get("recipe"),
        scale=config.get("scale"),
        settings=_mapping_in(config, "run", folder / "config.yaml"),
        evaluations=tuple(sorted((_load(path, Evaluation.read, "evaluate", folder) for path in results), key=_place)),
        metrics=tuple(metrics),
        training=_mapping(folder / "training.json"),
        audit=_load(audited, Audit.read, "audit", folder) if audited.exists() else None,
    )


def portable(path: Path) -> str:
    """The path as another machine would name it: relative to here, or ``runs/NAME`` for one from elsewhere."""
    if not path.is_absolute():
        return path.as_posix()
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) and path != here else f"runs/{path.name}"


def _place(evaluation: Evaluation) -> tuple[bool, int, float, str]:
    return evaluation.name != "test", -evaluation.examples, evaluation.white_box.worst.accuracy.top1, evaluation.name


def _load(path: Path, read: Callable[[Mapping[str, Any], Mapping[str, Any]], _Record], command: str, run: Path) -> _Record:
    """The record of a ``results.json`` and of the ledger beside it, which may be missing."""
    writer = f"logitpair {command}"
    results = read_results(path, writer=writer)
    ledger = path.with_name("ledger.npz")
    try:
        return read(results, read_ledger(ledger, results, writer=writer) if ledger.exists() else {})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"'{path}' is damaged or incomplete ({reason(error)}); run `{writer} {run}` again") from error


def _mapping(path: Path) -> dict[str, Any]:
    """A YAML or JSON file that holds a mapping; an empty one where there is no file."""
    if not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text()) if path.suffix == ".yaml" else json.loads(path.read_text())
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"'{path}' is damaged ({reason(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"'{path}' is damaged (it holds no mapping)")
    return content


def _mapping_in(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    found = content.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"'{path}' is damaged ({key} is no mapping)")
    return found
