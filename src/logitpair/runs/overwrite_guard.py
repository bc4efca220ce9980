"""What keeps finished results from being written over by others that say less, or are of another network."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from logitpair.data import count
from logitpair.errors import InputError
from logitpair.runtime import environment
from logitpair.storage.class_path import describe
from logitpair.storage.model_fingerprint import fingerprint, weights_of
from logitpair.storage.result_files import OtherSchema, read_record, set_aside
from logitpair.storage.results import CERTIFICATE_METHODS, AuditResults, CertificateResults, EvaluationResults, Network, Results
from logitpair.threat import Threat

if TYPE_CHECKING:
    from logitpair.runs.evaluation_task import EvaluationTask

logger = logging.getLogger("logitpair")
_Results = TypeVar("_Results", bound=Results)
_InBall = TypeVar("_InBall", AuditResults, CertificateResults)


def refuse_overwriting_evaluation(
    folder: Path, task: EvaluationTask, sources: Collection[str] = (), keeps_images: bool = False, worst_case_only: bool = False
) -> None:
    """Refuse a folder that holds an evaluation of more, or of another network or other images, than the ``task`` will write there."""
    before = _finished(folder, EvaluationResults, "delete the folder or give another --name or --out")
    if before is None:
        return
    holds = f"'{folder}' holds an evaluation"
    if before.checkpoint != task.record.checkpoint and before.network == task.record.network:
        raise InputError(f"--checkpoint: {holds} of {before.checkpoint}, this one is of {task.record.checkpoint}; give another --name")
    _refuse_another_subject(before, task, holds, "give another --out or --name")
    examples = count(task.test)
    if examples is not None and before.examples > examples:
        raise InputError(f"--examples: {holds} of {before.examples:,} images, this one has {examples:,}; give another --name")
    attacks = {name: describe(attack) for name, attack in task.attacks.items()}
    lost = [f"attack '{name}'" for name, parameters in before.parameters.items() if attacks.get(name) != parameters]
    lost += ["what each attack leaves alone"] if worst_case_only and before.attacks else []
    lost += [f"source '{name}'" for name in before.black_box if name not in sources]
    kept = any(entry.images for entry in (before.in_turn or before.attacks).values())
    lost += ["--keep-adversarial"] if kept and not keeps_images else []
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise InputError(f"--name: {holds} with {lost[0]}{more}, which this one is without; give another --name")


def refuse_overwriting_audit(folder: Path, task: EvaluationTask, threat: Threat) -> None:
    """Refuse a folder that holds an audit of more images, of another network or other images, or in another ball."""
    _refuse_another_ball(folder, task, threat, AuditResults, "an audit")


def refuse_overwriting_certificate(folder: Path, task: EvaluationTask, threat: Threat, method: str, branches: int) -> None:
    """Refuse a folder that holds a certificate for which more was tried, of more images, of another network, images or ball."""
    before = _refuse_another_ball(folder, task, threat, CertificateResults, "a certificate")
    rank = CERTIFICATE_METHODS.index
    if before is not None and rank(before.methods[-1].name) > rank(method):
        tried = before.methods[-1].name
        raise InputError(f"--method: '{folder}' holds a certificate by {tried}, this one is by {method}; give --method {tried}")
    if before is not None and (before.branches or 0) > branches:
        tried = f"--branches {before.branches}"
        raise InputError(f"--branches: '{folder}' holds a certificate with {tried}, this one has {branches}; give {tried}")


def _refuse_another_ball(folder: Path, task: EvaluationTask, threat: Threat, kind: type[_InBall], what: str) -> _InBall | None:
    """What the folder holds, if all of it may be written over."""
    instead = "move that folder away first"
    before, examples = _finished(folder, kind, instead), count(task.test)
    if before is None:
        return None
    eps = before.threat["init_args"]["eps"]
    holds = f"'{folder}' holds {what} of {before.examples:,} images at eps {eps!r}"
    _refuse_another_subject(before, task, f"'{folder}' holds {what}", instead)
    if (norm := before.threat["class_path"]) != describe(threat)["class_path"]:
        raise InputError(f"--norm: {holds} in {norm.rsplit('.', 1)[-1]}, this one is in {type(threat).__name__}; {instead}")
    if eps != threat.eps:
        raise InputError(f"--eps: {holds}, this one has {threat.eps!r}; {instead}")
    if examples is not None and before.examples > examples:
        raise InputError(f"--examples: {holds}, this one has {examples:,}; {instead}")
    return before


def _refuse_another_subject(before: Results, task: EvaluationTask, holds: str, instead: str) -> None:
    """Refuse another network, by its options or by its weights, and images that were chosen or cut otherwise."""
    now, weights = task.record, weights_of(task.model)
    if before.network != now.network:
        raise InputError(f"--out: {holds} of {_difference(before.network, now.network)}; {instead}")
    if before.weights not in (None, weights):  # results were once written without
        raise InputError(f"--out: {holds} of other weights ({before.weights[:8]}, these are {weights[:8]}); {instead}")
    if now.network and before.versions == environment.versions() and before.fingerprint not in (None, fingerprint(task.model)):
        raise InputError(f"--out: {holds} of a network of the same weights with other settings or other code; {instead}")
    if before.data is not None and now.data is not None and before.data != now.data:
        raise InputError(f"--data-dir: {holds} on other images, or of another size or other classes; {instead}")


def _finished(folder: Path, kind: type[_Results], instead: str) -> _Results | None:
    path = folder / "results.json"
    if not path.exists():
        return None
    try:
        return read_record(path, kind, writer="")
    except OtherSchema:
        set_aside(folder)
        logger.warning(f"'{path}' was written by another version; it is kept beside the new one")
        return None
    except InputError as error:
        raise InputError(f"'{path}' is damaged; {instead}") from error


def _difference(before: Network | None, now: Network | None) -> str:
    """What the network of an evaluation was, as far as it is another one now."""
    if before is None:
        return "a run"
    changed = [name for name in before.__struct_fields__ if now and getattr(before, name) != getattr(now, name)]
    return before.name if not changed or changed[0] == "name" else f"{before.name} with --{changed[0]} {getattr(before, changed[0])}"
