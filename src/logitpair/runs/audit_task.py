"""What an audit of a task judges and builds on: under which attack, what an evaluation reported, and what a certificate holds."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from logitpair.attacks import PGD
from logitpair.auditing.reference import reference_attack
from logitpair.certification.result import Certificate
from logitpair.data import fingerprint
from logitpair.errors import InputError
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.storage.class_path import describe
from logitpair.storage.model_fingerprint import weights_of
from logitpair.storage.result_files import read_record
from logitpair.storage.results import EvaluationResults
from logitpair.threat import L2, Linf, Threat

logger = logging.getLogger("logitpair")
NORMS: dict[str | None, type[Threat]] = {"linf": Linf, "l2": L2}  # by what ``--norm`` calls them
KEPT = ("top1", "correct", "total", "ci95", "gradient_evaluations_per_example")


def reference_of(task: EvaluationTask, eps: float | None, norm: type[Threat] | None = None) -> PGD:
    """The attack whose number is judged: the task's first, scaled to ``eps`` where it is given; in another ``norm`` the usual one."""
    first = next(iter(task.attacks.values()), None)
    if isinstance(first, PGD) and norm not in (None, type(first.threat)):
        if eps is None:
            raise InputError(f"--norm: needs --eps, as the radius of {first.threat} says nothing in another norm")
        first = None
    if eps is not None and (not isinstance(first, PGD) or not first.threat.eps):
        return reference_attack(_ball(norm or Linf, eps))
    if not isinstance(first, PGD) or first.target is not None:
        raise InputError("--attacks: the first one must be an untargeted PGD, such as pgd_76.5_2.55_40; its number is what is judged")
    if eps is None:
        return first
    ball = _ball(type(first.threat), eps)
    return replace(first.scaled(eps / first.threat.eps), threat=ball)  # a product may be rounded beyond eps, where no certificate holds


def threat_of(task: EvaluationTask, eps: float | None, norm: type[Threat] | None = None) -> Threat:
    """The ball that is certified: that of the task's first attack, whatever it aims at, or of this ``eps`` and ``norm``."""
    own: Threat | None = getattr(next(iter(task.attacks.values()), None), "threat", None)
    if eps is None and (own is None or norm not in (None, type(own))):
        raise InputError("--eps is not given; needed where the recipe's first attack has no radius in this norm, such as --eps 8/255")
    return own if eps is None else _ball(norm or (type(own) if own else Linf), eps)  # pyright: ignore[reportReturnType]


def _ball(norm: type[Threat], eps: float) -> Threat:
    try:
        return norm(eps)
    except InputError as error:
        raise InputError(f"--{error}") from error


def certificate_of(run: Path, task: EvaluationTask, threat: Threat) -> Certificate | None:
    """The certificate that lies in a run's folder; None where there is none, or, with a warning, one of something else."""
    folder = run / "certificate"
    if not (folder / "results.json").exists():
        return None
    try:
        certificate = Certificate.load(folder)
        certificate.holds_for(task.model, fingerprint(task.test), threat)
    except InputError as error:
        logger.warning(f"'{folder}' is not used: {error}")
        return None
    return certificate


def reported_accuracy(run: Path, task: EvaluationTask, reference: PGD) -> dict[str, Any] | None:
    """What an evaluation of the same checkpoint on the same images says under the reference attack; None where there is none."""
    weights = weights_of(task.model)
    for path in sorted(run.glob("evaluation/*/results.json")):
        try:
            results = read_record(path, EvaluationResults, "logitpair evaluate")
        except InputError:
            continue  # a damaged evaluation reports nothing
        same = all(getattr(results, field) == getattr(task.record, field) for field in ("step", "checkpoint", "data", "network"))
        if not same or results.weights not in (None, weights) or results.examples != len(task.test):  # type: ignore[arg-type]
            continue
        for name, entry in results.attacks.items():
            if entry.parameters == describe(reference):
                return {key: getattr(entry, key) for key in KEPT} | {"attack": name, "evaluation": path.parent.name}
    return None
