"""One of each record that is written to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytest
from handmade_sweeps import accuracy, entry, failed_entry, head
from msgspec.structs import replace

from logitpair.config import parsing, recipes
from logitpair.reproduction.planned_run import PlannedRun
from logitpair.storage.class_path import describe
from logitpair.storage.results import (
    Accuracy,
    AttackAccuracy,
    AuditResults,
    BlackBox,
    Broken,
    CertificateMethod,
    CertificateResults,
    CurvePoint,
    DataSet,
    EpsPoint,
    EvaluationResults,
    Finding,
    Hardware,
    KeptImages,
    Network,
    Passes,
    Published,
    ReferenceAccuracy,
    SearchRound,
    SourceRun,
    StillCorrect,
    Training,
    VerificationResults,
    VerifiedAttack,
    WorstCase,
)
from logitpair.sweeps.record import best, summarize

Scored = TypeVar("Scored", bound=Accuracy)
Whole = TypeVar("Whole", EvaluationResults, AuditResults)
FIGURES: dict[str, Any] = {"top1": 0.5, "correct": 100, "total": 200, "ci95": (0.43, 0.57)}
ACCURACY = Accuracy(**FIGURES)
PGD = {"class_path": "logitpair.attacks.PGD", "init_args": {"steps": 40, "target": None, "step_size": 0.1}}
HARDWARE = Hardware(device="cpu", name="a processor", threads=2, instructions="AVX2")
VERSIONS = {"logitpair": "0.1.0", "torch": "2.13.0"}
ATTACK = AttackAccuracy(
    **FIGURES,
    top5=0.9,
    top5_is_upper_bound=True,
    parameters=PGD,
    largest_distance=0.1,
    gradient_evaluations_per_example=40.0,
    forward_evaluations_per_example=1.0,
    seconds=3.5,
    broken=Broken(total=90, first=80, alone=1),
    still_correct=StillCorrect(steps=(190, 120, 100), restarts=(100,)),
    images=KeptImages(folder="0123", eps=0.1),
)
TRAINING = Training(steps=760, seconds=8.0, processes=1, precision="float32", versions=VERSIONS, hardware=HARDWARE)
COMMON: dict[str, Any] = {
    "recipe": "digits-alp",
    "scale": "paper",
    "checkpoint": "last",
    "step": 760,
    "network": Network(name="timm:resnet18", pretrained=True, mean=(0.5,), std=(0.2,)),
    "data": DataSet(name="digits", split="test", class_names=("0", "1")),
    "sources": {"plain": SourceRun(run="runs/plain", step=5)},
    "published": (Published(source="arXiv 1803.06373, Table 1", white_box=0.939),),
    "training": TRAINING,
    "schema": 2,
    "name": "test",
    "created": "2026-01-02T03:04:05+00:00",
    "model": "SmallConvNet",
    "examples": 200,
    "classes": 2,
    "clean": ACCURACY,
    "seed": 0,
    "precision": "float32",
    "versions": VERSIONS,
    "hardware": HARDWARE,
    "wall_time_seconds": 12.5,
}
EVALUATION = EvaluationResults(
    **COMMON,
    attacks={"pgd": ATTACK},
    white_box=WorstCase(**FIGURES, attack="pgd", confusion=((90, 10), (20, 80))),
    white_box_union=ACCURACY,
    black_box={"plain": BlackBox(**FIGURES, attack="pgd", union=ACCURACY, attacks={"pgd": ATTACK})},
    curve=(CurvePoint(**FIGURES, eps=0.1, attack="pgd"),),
    batch_size=100,
    transfer=True,
)
AUDIT = AuditResults(
    **COMMON,
    threat={"class_path": "logitpair.threat.Linf", "init_args": {"eps": 0.1}},
    verdict="inconclusive",
    reason="a check failed",
    reference=ReferenceAccuracy(**FIGURES, parameters=PGD, measured=True, gradient_evaluations_per_example=40.0),
    robust_accuracy=ACCURACY,
    robust_accuracy_8_bit=ACCURACY,
    findings=(Finding(check="gradients", passed=False, evidence="", advice="", measured={"zero": 0.5, "slope": None}, blocks=True),),
    rounds=(
        SearchRound(
            strategy="margin",
            repetition=0,
            attacked=200,
            broken=100,
            still_correct=100,
            gradients_per_example=20.0,
            forwards_per_example=1.0,
            seconds=2.0,
        ),
    ),
    stop_reason="the budget is spent",
    converged=False,
    eps_curve=(EpsPoint(eps=0.1, top1=0.5, examples=100),),
    gradient_evaluations_per_example=20.0,
    forward_evaluations_per_example=1.0,
    checks=Passes(gradient_evaluations_per_example=3.0, forward_evaluations_per_example=2.0),
    budget=200.0,
)
COUNTS = {"total": 200, "recorded": 100, "again": 100, "eight_bit": 99, "differing": 0, "outside": 0}
VERIFICATION = VerificationResults(
    schema=2, holds=True, weights="0123", attacks=(VerifiedAttack(setting="white_box", attack="pgd", **COUNTS),)
)
RUNS = (entry({"w": 0}, 0, 0.2, 50), failed_entry({"w": 1}, 0, "diverged"))
SWEEP = replace(head("r", {"w": [0, 1]}), runs=RUNS, points=tuple(summarize(RUNS)), best=best(summarize(RUNS)))
CERTIFICATE = CertificateResults(
    **COMMON,
    threat={"class_path": "logitpair.threat.Linf", "init_args": {"eps": 0.1}},
    images="0f",
    certified=ACCURACY,
    broken=20,
    methods=(CertificateMethod(name="ibp", certified=90, seconds=0.5), CertificateMethod(name="crown-ibp", certified=10, seconds=2.5)),
)
RECORDS = {
    "evaluation": EVALUATION,
    "audit": AUDIT,
    "certificate": CERTIFICATE,
    "verification": VERIFICATION,
    "sweep": SWEEP,
    "training": TRAINING,
}


def keeping(correct: int, record: Scored) -> Scored:
    """The accuracy with so many images correct."""
    return replace(record, **accuracy(correct, record.total))


def evaluation_keeping(correct: int, base: EvaluationResults = EVALUATION, **changes: Any) -> EvaluationResults:
    """The evaluation with so many images correct under each white-box attack, and no fewer when clean."""
    white_box = keeping(correct, base.white_box or pytest.fail("no white box"))
    union = keeping(min(correct, base.white_box_union.correct), base.white_box_union)
    clean = keeping(max(correct, base.clean.correct), base.clean)
    attacks = {name: keeping(correct, attack) for name, attack in base.attacks.items()}
    fields: dict[str, Any] = {"attacks": attacks, "white_box": white_box, "white_box_union": union, "clean": clean}
    return replace(base, **(fields | changes))


def of_images(examples: int, results: Whole) -> Whole:
    """The results as if they had been of so many images, half of them correct everywhere."""
    half = accuracy(examples // 2, examples)

    def attacks(known: dict[str, AttackAccuracy]) -> dict[str, AttackAccuracy]:
        return {name: replace(attack, **half) for name, attack in known.items()}

    changes: dict[str, Any] = {"examples": examples, "clean": Accuracy(**half)}
    if isinstance(results, AuditResults):
        return replace(results, **changes, robust_accuracy=Accuracy(**half), robust_accuracy_8_bit=Accuracy(**half))
    white_box = results.white_box and replace(results.white_box, **half)
    black_box = {
        name: replace(suite, **half, attacks=attacks(suite.attacks), union=Accuracy(**half)) for name, suite in results.black_box.items()
    }
    changes |= {"white_box": white_box, "white_box_union": Accuracy(**half), "attacks": attacks(results.attacks), "black_box": black_box}
    return replace(results, **changes)


def evaluation_of(recipe: str, scale: str = "smoke") -> EvaluationResults:
    """The evaluation as if it had been made of a recipe's network, under its own attacks."""
    attacks = parsing.resolve(recipes.load(recipe).at_scale(scale)).config.evaluation.attacks
    own = {name: replace(ATTACK, parameters=describe(attack)) for name, attack in attacks.items()}
    suites = {name: replace(suite, attacks=own) for name, suite in EVALUATION.black_box.items()}
    of = {"recipe": recipe, "scale": scale, "checkpoint": "last", "test_images": EVALUATION.examples}
    return replace(EVALUATION, **of, attacks=own, black_box=suites)


def against(run: PlannedRun, *recipes: str, scale: str = "smoke") -> EvaluationResults:
    """The evaluation of a run, with images that were made against the planned sources of these recipes, one under each of its attacks."""
    own = evaluation_of(run.recipe, scale)
    (suite,) = own.black_box.values()
    sources = {recipe: SourceRun(run=str(Path("moved") / run.black_box_source(recipe).path(scale)), step=5) for recipe in recipes}
    return replace(own, black_box=dict.fromkeys(recipes, suite), sources=sources)


def audit_of(recipe: str, scale: str = "smoke") -> AuditResults:
    """The audit as if it had been made of a recipe's network, against its first attack."""
    first, *_ = evaluation_of(recipe, scale).attacks.values()
    reference = replace(AUDIT.reference, parameters=first.parameters)
    threat = first.parameters["init_args"]["threat"]
    of = {"recipe": recipe, "scale": scale, "checkpoint": "last", "test_images": AUDIT.examples}
    return replace(AUDIT, **of, threat=threat, reference=reference, budget=200.0)
