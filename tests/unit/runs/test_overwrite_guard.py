"""Which finished results are not written over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import nn

import logitpair as lp
from logitpair import InputError
from logitpair.runs.evaluation_task import EvaluationTask
from logitpair.runs.overwrite_guard import refuse_overwriting_audit, refuse_overwriting_evaluation
from logitpair.runtime import environment
from logitpair.storage.class_path import describe
from logitpair.storage.model_fingerprint import fingerprint, weights_of
from logitpair.storage.result_files import read_record, write_record
from logitpair.storage.results import (
    SCHEMA,
    Accuracy,
    AttackAccuracy,
    AttackInTurn,
    AuditResults,
    DataSet,
    EvaluationResults,
    Hardware,
    KeptImages,
    Network,
    Passes,
    ReferenceAccuracy,
    Task,
    WorstCase,
)

PGD = lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=2)
DATA = torch.zeros(20, 1, 2, 2), torch.zeros(20, dtype=torch.int64)
NETWORK = Network(name="timm:resnet18", weights="w.pt")
RIGHT = {"top1": 0.5, "correct": 10, "total": 20, "ci95": (0.3, 0.7)}
COMMON = {
    "schema": SCHEMA, "name": "test", "created": "now", "model": "Net", "examples": 20, "classes": 10, "clean": Accuracy(**RIGHT),
    "seed": 0, "precision": "float32", "versions": {}, "hardware": Hardware(device="cpu", name="a processor"), "wall_time_seconds": 1.0,
}  # fmt: skip
COST = {"gradient_evaluations_per_example": 2.0, "forward_evaluations_per_example": 2.0}


def task(**record: Any) -> EvaluationTask:
    return EvaluationTask(model=nn.Identity(), test=DATA, attacks={"pgd": PGD}, record=Task(**record))


def evaluated(folder: Path, images: KeptImages | None = None, **record: Any) -> Path:
    entry = AttackAccuracy(**RIGHT, parameters=describe(PGD), largest_distance=0.1, seconds=1.0, images=images, **COST)
    worst = WorstCase(**RIGHT, attack="pgd")
    results = EvaluationResults(
        **COMMON | record, attacks={"pgd": entry}, white_box=worst, white_box_union=Accuracy(**RIGHT), black_box={}, batch_size=5
    )
    write_record(folder / "results.json", results)
    return folder


def audited(folder: Path, **record: Any) -> AuditResults:
    results = AuditResults(
        **COMMON, threat=describe(PGD.threat), verdict="trustworthy", reason="it holds", findings=(), rounds=(), stop_reason="converged",
        reference=ReferenceAccuracy(**RIGHT, parameters=describe(PGD), measured=True), robust_accuracy=Accuracy(**RIGHT),
        robust_accuracy_8_bit=Accuracy(**RIGHT), converged=True, checks=Passes(**COST), budget=200.0, **COST, **record,
    )  # fmt: skip
    write_record(folder / "results.json", results)
    return results


def test_the_same_again_is_written_over(tmp_path: Path) -> None:
    refuse_overwriting_evaluation(tmp_path / "new", task())
    refuse_overwriting_evaluation(evaluated(tmp_path, checkpoint="last"), task(checkpoint="last"))
    kept = evaluated(tmp_path, images=KeptImages(folder="x", eps=0.1), network=NETWORK)
    refuse_overwriting_evaluation(kept, task(network=NETWORK), keeps_images=True)


def test_one_that_says_less_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds an evaluation with --keep-adversarial, which this one is without"):
        refuse_overwriting_evaluation(evaluated(tmp_path, images=KeptImages(folder="x", eps=0.1)), task())
    fewer = EvaluationTask(model=nn.Identity(), test=(DATA[0][:5], DATA[1][:5]), attacks={"pgd": PGD})
    with pytest.raises(InputError, match="^--examples: .* holds an evaluation of 20 images, this one has 5; give another --name"):
        refuse_overwriting_evaluation(evaluated(tmp_path), fewer)
    with pytest.raises(InputError, match="holds an evaluation with attack 'pgd', which this one is without"):
        refuse_overwriting_evaluation(evaluated(tmp_path), task().under({"pgd": PGD.scaled(2)}))


def test_the_worst_case_alone_is_not_written_over_what_each_attack_leaves(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds an evaluation with what each attack leaves alone, which this one is without"):
        refuse_overwriting_evaluation(evaluated(tmp_path), task(), worst_case_only=True)
    entry = AttackInTurn(parameters=describe(PGD), attacked=10, broken=0, seconds=1.0, images=KeptImages(folder="x", eps=0.1), **COST)
    results = read_record(tmp_path / "results.json", EvaluationResults, "")
    write_record(tmp_path / "results.json", replace(results, attacks={}, white_box=None, in_turn={"pgd": entry}))
    for only in (True, False):
        refuse_overwriting_evaluation(tmp_path, task(), keeps_images=True, worst_case_only=only)
    with pytest.raises(InputError, match="with --keep-adversarial, which"):
        refuse_overwriting_evaluation(tmp_path, task(), worst_case_only=True)
    with pytest.raises(InputError, match="with attack 'pgd', which"):
        refuse_overwriting_evaluation(tmp_path, task().under({"pgd": PGD.scaled(2)}), keeps_images=True, worst_case_only=True)


def test_another_checkpoint_is_not_written_over_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^--checkpoint: .* holds an evaluation of last, this one is of best"):
        refuse_overwriting_evaluation(evaluated(tmp_path, checkpoint="last"), task(checkpoint="best"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (0.5,), "std": (0.5,)}, "timm:resnet18 with --mean None"),
        ({"labels": "names.txt"}, "timm:resnet18 with --labels None"),
        ({"classes": 10}, "timm:resnet18 with --classes None"),
        ({"name": "timm:vit"}, "of timm:resnet18;"),
    ],
)
def test_a_custom_network_given_otherwise_is_another(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        refuse_overwriting_evaluation(evaluated(tmp_path, network=NETWORK), task(network=replace(NETWORK, **change)))


def test_other_weights_by_the_same_options_are_another_network(tmp_path: Path) -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    again, changed = (EvaluationTask(model=model, test=DATA, attacks={"pgd": PGD}, record=Task(network=NETWORK)) for model in (one, other))
    evaluated(tmp_path / "evaluation", network=NETWORK, weights=weights_of(one))
    audited(tmp_path / "audit", network=NETWORK, weights=weights_of(one))
    refuse_overwriting_evaluation(tmp_path / "evaluation", again)
    refuse_overwriting_audit(tmp_path / "audit", again, lp.Linf(0.1))
    found = rf"of other weights \({weights_of(one)[:8]}, these are {weights_of(other)[:8]}\)"
    with pytest.raises(InputError, match=f"^--out: .* holds an evaluation {found}; give another --out or --name"):
        refuse_overwriting_evaluation(tmp_path / "evaluation", changed)
    with pytest.raises(InputError, match=f"^--out: .* holds an audit {found}; move that folder away first"):
        refuse_overwriting_audit(tmp_path / "audit", changed, lp.Linf(0.1))
    assert json.loads((tmp_path / "evaluation" / "results.json").read_text())["weights"] == weights_of(one)


def test_other_code_of_the_same_weights_is_another_network(tmp_path: Path) -> None:
    one, other = nn.LeakyReLU(0.1), nn.LeakyReLU(0.9)
    again, changed = (EvaluationTask(model=model, test=DATA, attacks={"pgd": PGD}, record=Task(network=NETWORK)) for model in (one, other))
    found = {"network": NETWORK, "weights": weights_of(one), "fingerprint": fingerprint(one)}
    evaluated(tmp_path / "now", **found, versions=environment.versions())
    evaluated(tmp_path / "then", **found, versions={"python": "3.1"})  # which had other code for the same source
    refuse_overwriting_evaluation(tmp_path / "now", again)
    refuse_overwriting_evaluation(tmp_path / "then", changed)
    with pytest.raises(
        InputError, match="^--out: .* holds an evaluation of a network of the same weights with other settings or other code"
    ):
        refuse_overwriting_evaluation(tmp_path / "now", changed)


def test_images_chosen_otherwise_are_not_written_over(tmp_path: Path) -> None:
    photos = DataSet(name="photos", split="test", class_names=("cat", "owl"), size=224)
    evaluated(tmp_path, data=photos, classes=2)
    refuse_overwriting_evaluation(tmp_path, task(data=photos))
    for change in ({"size": 64}, {"resize": 256}, {"class_names": ("cat", "dog")}):
        with pytest.raises(InputError, match="^--data-dir: .* holds an evaluation on other images, or of another size"):
            refuse_overwriting_evaluation(tmp_path, task(data=replace(photos, **change)))


def test_a_custom_network_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds an evaluation of a run"):
        refuse_overwriting_evaluation(evaluated(tmp_path, checkpoint="last"), task(network=NETWORK))


@pytest.mark.parametrize("content", ['{"examples": 20, "att', "[]", '{"examples": 20}'])
def test_what_cannot_be_read_is_not_written_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=r"results.json' is damaged; .* give another --name or --out"):
        refuse_overwriting_evaluation(tmp_path, task())
    with pytest.raises(InputError, match=r"results.json' is damaged; move that folder away first"):
        refuse_overwriting_audit(tmp_path, task(), lp.Linf(0.1))


def test_results_of_another_version_are_set_aside_whole(tmp_path: Path) -> None:
    for name in ("evaluation", "audit"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "results.json").write_text('{"schema": 1}')
        (folder / "ledger.npz").write_bytes(b"ledger")
        (folder / "results-of-another-version-2.json").write_text("older still")  # beside one that its owner has deleted
    refuse_overwriting_evaluation(tmp_path / "evaluation", task())
    refuse_overwriting_audit(tmp_path / "audit", task(), lp.Linf(0.1))
    for name in ("evaluation", "audit"):
        kept = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        assert kept == {
            "results-of-another-version-2.json": b"older still",
            "results-of-another-version-1.json": b'{"schema": 1}',
            "ledger-of-another-version-1.npz": b"ledger",
        }
    (tmp_path / "audit" / "results.json").write_text('{"schema": 1}')
    refuse_overwriting_audit(tmp_path / "audit", task(), lp.Linf(0.1))
    assert (tmp_path / "audit" / "results-of-another-version-2.json").read_text() == "older still"
    assert (tmp_path / "audit" / "results-of-another-version-3.json").read_text() == '{"schema": 1}'


def test_an_audit_is_written_over_by_one_of_as_many_images_in_the_same_ball_alone(tmp_path: Path) -> None:
    refuse_overwriting_audit(tmp_path, task(), lp.Linf(0.1))
    audited(tmp_path)
    refuse_overwriting_audit(tmp_path, task(), lp.Linf(0.1))
    with pytest.raises(
        InputError, match="^--eps: .* holds an audit of 20 images at eps 0.1, this one has 0.2; move that folder away first"
    ):
        refuse_overwriting_audit(tmp_path, task(), lp.Linf(0.2))
    with pytest.raises(InputError, match="^--norm: .* holds an audit of 20 images at eps 0.1 in Linf, this one is in L2"):
        refuse_overwriting_audit(tmp_path, task(), lp.L2(0.1))
    fewer = EvaluationTask(model=nn.Identity(), test=(DATA[0][:5], DATA[1][:5]))
    with pytest.raises(InputError, match="^--examples: .* holds an audit of 20 images at eps 0.1, this one has 5"):
        refuse_overwriting_audit(tmp_path, fewer, lp.Linf(0.1))


def test_the_file_says_what_the_guard_reads(tmp_path: Path) -> None:
    evaluated(tmp_path, checkpoint="last")
    assert json.loads((tmp_path / "results.json").read_text())["checkpoint"] == "last"
