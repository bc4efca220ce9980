"""The records: what is written is read back, what is damaged is refused, and the page about them is up to date."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from handmade_sweeps import entry, failed_entry, head
from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.storage.result_files import read_ledger, read_record, write_record, write_results
from logitpair.storage.results import (
    Accuracy,
    AttackAccuracy,
    AuditResults,
    BlackBox,
    Broken,
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
    Record,
    ReferenceAccuracy,
    SearchRound,
    SourceRun,
    StillCorrect,
    SweepResults,
    Training,
    VerificationResults,
    VerifiedAttack,
    WorstCase,
)
from logitpair.sweeps.record import best, summarize

DOCS = Path(__file__).parents[3] / "docs"
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
COMMON: dict[str, Any] = {
    "recipe": "digits-alp",
    "scale": "paper",
    "checkpoint": "last",
    "step": 760,
    "network": Network(name="timm:resnet18", pretrained=True, mean=(0.5,), std=(0.2,)),
    "data": DataSet(name="digits", split="test", class_names=("0", "1")),
    "sources": {"plain": SourceRun(run="runs/plain", step=5)},
    "published": (Published(source="arXiv 1803.06373, Table 1", white_box=0.939),),
    "training": Training(steps=760, seconds=8.0, processes=1, precision="float32", versions=VERSIONS, hardware=HARDWARE),
    "schema": 2,
    "name": "test",
    "created": "2026-01-02T03:04:05+00:00",
    "model": "SmallConvNet",
    "examples": 200,
    "classes": 10,
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
RECORDS = {"evaluation": EVALUATION, "audit": AUDIT, "verification": VERIFICATION, "sweep": SWEEP, "training": COMMON["training"]}


@pytest.mark.parametrize("kind", RECORDS)
def test_what_is_written_is_read_back(kind: str, tmp_path: Path) -> None:
    record: Record = RECORDS[kind]
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json", type(record), "x") == record
    content = json.loads((tmp_path / "record.json").read_text())
    assert content.get("kind", "training") == kind
    assert None not in content.values(), "what has nothing to say is left out"


@pytest.mark.parametrize("kind", RECORDS)
def test_keys_of_later_versions_are_ignored(kind: str, tmp_path: Path) -> None:
    record: Record = RECORDS[kind]
    content = msgspec.to_builtins(record) | {"a_later_key": {"x": 1}}
    (tmp_path / "record.json").write_text(json.dumps(content))
    assert read_record(tmp_path / "record.json", type(record), "x") == record


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"clean": {**FIGURES, "top1": 1.5}}, r"\$\.clean\.top1"),
        ({"clean": {**FIGURES, "correct": -1}}, r"\$\.clean\.correct"),
        ({"clean": {"top1": 0.5}}, r"\$\.clean"),
        ({"examples": "200"}, r"\$\.examples"),
        ({"attacks": {"pgd": {}}}, r"\$\.attacks\[\.\.\.\]"),
        ({"curve": 5}, r"\$\.curve"),
        ({"kind": "audit"}, r"\$\.kind"),
    ],
)
def test_a_damaged_value_is_named_in_one_line(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(msgspec.to_builtins(EVALUATION) | changes))
    with pytest.raises(InputError, match=rf"results\.json' is damaged.*{named}.*run `logitpair evaluate` again") as caught:
        read_record(path, EvaluationResults, "logitpair evaluate")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"null", b"\xff", b'{"schema": 2}', b'{"schema": "x"}'])
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    with pytest.raises(InputError, match="is missing"):
        read_record(path, SweepResults, "logitpair sweep")
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        read_record(path, SweepResults, "logitpair sweep")


@pytest.mark.parametrize("schema", [1, 3])
def test_another_schema_is_refused_whatever_else_the_file_says(schema: int, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"schema": schema, "kind": "evaluation", "clean": 5}))
    expected = rf"results\.json' was written by another version \(schema {schema}, this one reads 2\); run `logitpair evaluate` again$"
    with pytest.raises(InputError, match=expected):
        read_record(path, EvaluationResults, "logitpair evaluate")


def test_results_and_ledger_belong_together(tmp_path: Path) -> None:
    ledger = {"y": np.arange(3), "clean/margin": np.array([0.5, np.nan, -1])}
    path = write_results(tmp_path, EVALUATION, ledger)
    results = read_record(path, EvaluationResults, "logitpair evaluate")
    assert replace(results, ledger_sha256=None) == EVALUATION
    read = read_ledger(tmp_path / "ledger.npz", results, "logitpair evaluate")
    assert read.keys() == ledger.keys()
    assert all(np.array_equal(read[name], ledger[name], equal_nan=True) for name in ledger)
    for other in (replace(results, ledger_sha256="0"), replace(results, ledger_sha256=None)):
        with pytest.raises(InputError, match="of another evaluation"):
            read_ledger(tmp_path / "ledger.npz", other, "logitpair evaluate")
    (tmp_path / "ledger.npz").unlink()
    with pytest.raises(InputError, match=r"ledger\.npz' is missing"):
        read_ledger(tmp_path / "ledger.npz", results, "logitpair evaluate")


def test_the_page_is_what_the_command_gives_and_every_field_has_its_comment() -> None:
    spec = importlib.util.spec_from_file_location("generate_results", DOCS / "generate_results.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.page() == (DOCS / "results.md").read_text(), "run `python docs/generate_results.py`"


def test_recorded_results_are_records() -> None:
    contents = {path: json.loads(path.read_text()) for path in (DOCS.parent / "results").rglob("*.json")}
    kinds = {path: content["kind"] for path, content in contents.items() if "schema" in content}  # benchmarks have none
    assert set(kinds.values()) == {"evaluation", "audit", "sweep"}
    for path, kind in kinds.items():
        read_record(path, type(RECORDS[kind]), "logitpair evaluate")
