"""``logitpair audit``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from jsonargparse import ArgumentParser, Namespace

from logitpair.attacks import PGD
from logitpair.auditing.audit import BUDGET, audit
from logitpair.auditing.reference import reference_attack
from logitpair.auditing.result import Audit
from logitpair.cli.options import add_device, check_numbers, device_of
from logitpair.cli.task_options import PATIENCE, add_subject, blaming, out_of, parse_sources, subject_of
from logitpair.config.recipes import FRACTION, fraction
from logitpair.data import count
from logitpair.errors import InputError
from logitpair.runs.evaluation_task import EvaluationTask, sources_of
from logitpair.runtime import distributed
from logitpair.runtime.progress import console, print_rows
from logitpair.storage.class_path import describe
from logitpair.storage.model_fingerprint import weights_of
from logitpair.storage.results import Task
from logitpair.threat import Linf

SUMMARY = "what a run, or a model of yours, really withstands, and whether its robust accuracy can be believed"
FOLDER = "audit"
CHECK_COLUMNS = ("check", "", "what was measured")


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of the command."""
    add_subject(parser)
    parser.add_argument("--source", action="append", type=str, metavar="NAME=RUN", help="another run, whose images are tried too")
    parser.add_argument("--eps", type=str | None, default=None, help="radius in the pixels' unit, also 8/255 (default: the recipe's)")
    parser.add_argument(
        "--attacks",
        type=str | None,
        default=None,
        help="the protocol that is judged, such as pgd_76.5_2.55_40 (eps and step size in 1/255, steps); the recipe's first by default",
    )
    parser.add_argument("--budget", type=float, default=BUDGET, help="gradients an image may cost on average (a forward pass: a third)")
    parser.add_argument("--minutes", type=float | None, default=None, help="end the search after so many minutes")
    parser.add_argument("--precision", type=str, default="float32", help="of the search: float32, bfloat16 or auto; breaks are verified")
    parser.add_argument("--checkpoint", type=str | None, default=None, help="last (default), or best by held-out accuracy")
    parser.add_argument("--seed", type=int, default=0, help="of the searches' randomness")
    add_device(parser)


def run(arguments: Namespace) -> None:
    """Audit, print the verdict and the checks, write ``results.json`` and ``ledger.npz``."""
    if arguments.precision not in ("float32", "bfloat16", "auto"):
        raise InputError(f"--precision: '{arguments.precision}' is not accepted; accepted: float32, bfloat16, auto")
    run = out_of(arguments)
    folder = run / FOLDER
    attacks = arguments.attacks
    if arguments.model is not None and attacks is None:
        if arguments.eps is None:
            raise InputError("--eps is not given; a model without a recipe needs it, such as --eps 8/255")
        attacks = "fgsm_1"  # a model must have some; the standard protocol takes its place
    if arguments.checkpoint not in (None, "last", "best"):
        raise InputError(f"--checkpoint: '{arguments.checkpoint}' is not accepted; accepted: last, best")
    check_numbers(arguments, ("examples", "batch_size"), least=1)
    sources = parse_sources(arguments.source or [])
    with distributed.join(device_of(arguments.device), patience=PATIENCE) as world, blaming(arguments.model):
        subject = subject_of(arguments, world, arguments.examples, attacks)
        protocol = protocol_of(subject, arguments)
        keep_finished(folder, count(subject.test), protocol.threat)
        networks, known = sources_of(sources, subject.model)
        found = audit(
            subject.model,
            subject.test,
            threat=protocol.threat,
            budget=arguments.budget,
            minutes=arguments.minutes,
            reference_attack=protocol,
            reported_accuracy=claim_of(run, subject, protocol),
            sources=networks,
            seed=arguments.seed,
            batch_size=subject.batch_size if arguments.batch_size is None else arguments.batch_size,
            workers=subject.workers,
            precision=arguments.precision,
            folder=folder,
            world=world,
        )
        if world.is_main:
            path = found.with_task(msgspec.convert({**subject.about, "sources": known}, Task)).save(folder)
            print_audit(found)
            console.print(f"Wrote {path}\nNext: logitpair report {run}")


def keep_finished(folder: Path, examples: int | None, threat: Linf) -> None:
    """Keep a finished audit from being written over by one of fewer images, or in another ball.

    Raises:
        InputError: if the folder holds such a one.
    """
    try:
        results = json.loads((folder / "results.json").read_text())
        before, eps = int(results["examples"]), float(results["threat"]["init_args"]["eps"])
    except (OSError, ValueError, LookupError, TypeError):  # nothing worth keeping
        return
    held = f"'{folder}' holds an audit of {before:,} images at eps {eps:g}"
    if eps != threat.eps:
        raise InputError(f"--eps: {held}, this one has {threat.eps:g}; move that folder away first")
    if examples is not None and before > examples:
        raise InputError(f"--examples: {held}, this one has {examples:,}; move that folder away first")


def protocol_of(subject: EvaluationTask, arguments: Namespace) -> PGD:
    """The attack whose number is judged.

    Raises:
        InputError: for an attack that the audit cannot judge, or an ``--eps`` that is no number.
    """
    first = next(iter(subject.attacks.values()))
    eps = None if arguments.eps is None else eps_of(arguments.eps)
    if eps is not None and (not isinstance(first, PGD) or not first.threat.eps or (arguments.model and arguments.attacks is None)):
        first = reference_attack(Linf(eps))
    if not isinstance(first, PGD) or first.target is not None:
        raise InputError("--attacks: the first one must be an untargeted PGD, such as pgd_76.5_2.55_40; its number is what is judged")
    return first if eps is None else first.scaled(eps / first.threat.eps)


def eps_of(text: str) -> float:
    """``0.3`` or ``8/255`` as a number.

    Raises:
        InputError: for anything else.
    """
    try:
        eps = fraction(text) if FRACTION.fullmatch(text) else float(text)
    except ValueError as error:
        raise InputError(f"--eps: '{text}' is no number such as 0.3 or 8/255") from error
    if not 0 < eps <= 1:
        raise InputError(f"--eps: '{text}' is no radius; accepted: above 0 and at most 1, the pixels' whole range")
    return eps


def claim_of(run: Path, subject: EvaluationTask, protocol: PGD) -> dict[str, Any] | None:
    """What an evaluation of the same checkpoint on the same images says of the protocol; None where there is none."""
    weights = weights_of(subject.model)
    for path in sorted(run.glob("evaluation/*/results.json")):
        try:
            results = json.loads(path.read_text())
            same = all(results.get(key) == subject.about.get(key) for key in ("step", "checkpoint", "data", "network"))
            if not same or results.get("weights", weights) != weights or results["examples"] != len(subject.test):  # type: ignore[arg-type]
                continue
            for name, entry in results["attacks"].items():
                if entry["parameters"] == describe(protocol):
                    kept = {key: entry[key] for key in ("top1", "correct", "total", "ci95", "gradient_evaluations_per_example")}
                    return kept | {"attack": name, "evaluation": path.parent.name}
        except (OSError, ValueError, LookupError, TypeError):
            continue  # a damaged evaluation claims nothing
    return None


def print_audit(found: Audit) -> None:
    """The verdict, the accuracies and the checks."""
    colour = {"trustworthy": "green", "overestimated": "red", "inconclusive": "yellow"}[found.verdict]
    console.print(f"[bold {colour}]{found.verdict}[/]: {found.results['reason']}")
    from logitpair.auditing.result import COLUMNS

    print_rows(COLUMNS, found.rows())
    print_rows(CHECK_COLUMNS, [(f["check"], "passed" if f["passed"] else "FAILED", f["evidence"]) for f in found.results["findings"]])
    for finding in found.results["findings"]:
        if not finding["passed"]:
            console.print(f"{finding['check']}: {finding['advice']}")
