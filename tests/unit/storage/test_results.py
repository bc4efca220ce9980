"""The records: what is written is read back, what is damaged is refused, and the page about them is up to date."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from handmade_results import AUDIT, EVALUATION, FIGURES, RECORDS, SWEEP
from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.storage.result_files import read_ledger, read_record, read_whole, write_record, write_results
from logitpair.storage.results import AuditResults, EvaluationResults, Record, SweepResults
from logitpair.sweeps import record

DOCS = Path(__file__).parents[3] / "docs"


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
        ({"clean": {**FIGURES, "top1": 0.45}}, "contradict each other"),
        ({"clean": {**FIGURES, "ci95": (0.3, 0.4)}}, "contradict each other"),
        ({"clean": {**FIGURES, "correct": 201}}, "contradict each other"),
        ({"clean": {"top1": 0.0, "correct": 0, "total": 0, "ci95": (0.0, 1.0)}}, "contradict each other"),
        ({"clean": {"top1": 0.4979, "correct": 100, "total": 200, "ci95": (0.4, 0.6)}}, "contradict each other"),
        ({"examples": 100}, "accuracies are not all of 100 images"),
        ({"white_box_union": {"top1": 0.5, "correct": 50, "total": 100, "ci95": (0.4, 0.6)}}, "accuracies are not all of 200 images"),
        ({"classes": 3}, "2 class names for 3 classes"),
        ({"white_box": {**FIGURES, "attack": "bim"}}, "not that of the attack 'bim'"),
        ({"clean": {**FIGURES, "top5": 0.4}}, "top5 0.4 is below top1 0.5"),
        ({"clean": {"top1": 0.4, "correct": 80, "total": 200, "ci95": (0.3, 0.5)}}, "a stronger attack leaves more: 80, 100"),
        (
            {"attacks": {"pgd": {**msgspec.to_builtins(EVALUATION.attacks["pgd"]), "parameters": {"class_path": "a", "init_args": None}}}},
            "init_args",
        ),
        ({"white_box": {**FIGURES, "attack": "pgd", "top1": 0.505, "correct": 101}}, "not that of the attack 'pgd'"),
        ({"white_box": {**FIGURES, "attack": "pgd", "confusion": [[200]]}}, "not 2 by 2"),
    ],
)
def test_a_damaged_value_is_named_in_one_line(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(msgspec.to_builtins(EVALUATION) | changes))
    with pytest.raises(InputError, match=rf"results\.json' is damaged.*{named}.*run `logitpair evaluate` again") as caught:
        read_record(path, EvaluationResults, "logitpair evaluate")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"5", b"null", b"\xff", b'{"schema": 2}', b'{"schema": "x"}', b'{"kind": "sweep", "recipe": "\xff"}']
)
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    with pytest.raises(InputError, match="is missing"):
        read_record(path, SweepResults, "logitpair sweep")
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        read_record(path, SweepResults, "logitpair sweep")
    assert read_whole(path, SweepResults) is None


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
    assert set(kinds.values()) == {"evaluation", "audit", "certificate", "sweep"}
    for path, kind in kinds.items():
        read_record(path, type(RECORDS[kind]), "logitpair evaluate")


@pytest.mark.parametrize("key", ["clean", "robust_accuracy", "robust_accuracy_8_bit"])
def test_an_audit_of_as_many_images_everywhere(key: str, tmp_path: Path) -> None:
    content = msgspec.to_builtins(AUDIT) | {key: {"top1": 0.5, "correct": 50, "total": 100, "ci95": (0.4, 0.6)}}
    (tmp_path / "audit.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="accuracies are not all of 200 images"):
        read_record(tmp_path / "audit.json", AuditResults, "x")


@pytest.mark.parametrize(
    ("key", "change", "named"),
    [
        ("runs", {"settings": {"w": 5}}, "no point of the axes"),
        ("runs", {"settings": {}}, "no point of the axes"),
        ("points", {"settings": {"v": 0}}, "no point of the axes"),
        ("runs", {"white_box": None}, "finished and not measured"),
        ("points", {"finished": 2}, "its points are not what its runs come to"),
        ("runs", {"validation_white_box": 0.9}, "its points are not what its runs come to"),
    ],
)
def test_a_sweep_that_contradicts_itself_is_damaged(key: str, change: dict[str, Any], named: str, tmp_path: Path) -> None:
    content = json.loads(msgspec.json.encode(SWEEP))
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    assert record.read(tmp_path) == SWEEP
    content[key][0] |= change
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"sweep.json' is damaged .*{named}"):
        record.read(tmp_path)
