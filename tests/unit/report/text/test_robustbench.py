"""The record for RobustBench: its fields, what stays empty, and what has no table there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from handmade_audits import audit
from msgspec.structs import replace

from logitpair import InputError
from logitpair.report.records import Run
from logitpair.report.text.robustbench import model_info
from logitpair.storage.results import AuditResults, DataSet

WIDE = {"class_path": "logitpair.models.WideResNet", "init_args": {"depth": 28, "width": 10}}
FIELDS = (
    *("link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture", "eps", "clean_acc"),
    *("reported", "autoattack_acc", "footnote"),
)


def audited(data: str = "CIFAR-10", norm: str = "Linf", eps: float = 8 / 255) -> AuditResults:
    threat = {"class_path": f"logitpair.threat.{norm}", "init_args": {"eps": eps}}
    names = tuple("abc")
    return replace(audit(101, "inconclusive"), weights="0123", threat=threat, data=DataSet(name=data, split="test", class_names=names))


def written(results: AuditResults | None = None, **settings: Any) -> dict[str, Any]:
    run = Run(name="net", path="runs/net", settings={"model": WIDE} | settings, audit=audited() if results is None else results)
    return json.loads(model_info(run, "0123"))


def test_the_fields_are_robustbench_s_and_what_only_others_know_is_empty() -> None:
    record = written()
    assert tuple(record) == FIELDS
    assert record | {"footnote": ""} == {
        **dict.fromkeys(FIELDS),
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": "cifar10",
        "architecture": "WideResNet(depth=28, width=10)",
        "eps": "8/255",
        "clean_acc": "96.50",
        "reported": "50.50",
        "footnote": "",
    }
    assert record["footnote"].startswith(
        "50.5% robust accuracy (95% interval 43.6 \N{EN DASH} 57.4%, 200 images) is what an audit by logitpair left, not"
    )
    assert record["footnote"].endswith("left, not AutoAttack; its verdict: inconclusive.")


def test_weights_from_elsewhere_are_additional_data() -> None:
    pretrained = {"class_path": "logitpair.models.Timm", "init_args": {"name": "resnet18", "pretrained": True}}
    assert written(model=pretrained)["additional_data"]
    assert written(fine_tuning={"weights": "/somewhere/else.pt"})["additional_data"]


def test_the_other_tables() -> None:
    assert written(audited("CIFAR-100", "L2", 0.5))["eps"] == "0.5"
    assert written(audited("ImageNet", eps=4 / 255))["dataset"] == "imagenet"
    for results in (audited("MNIST"), audited(norm="L1"), replace(audited(), data=None)):
        with pytest.raises(InputError, match="^--format robustbench: .* has no table there; accepted: CIFAR-10, CIFAR-100, ImageNet"):
            written(results)


def test_a_run_without_an_audit_and_one_of_other_weights_are_refused() -> None:
    with pytest.raises(InputError, match="has no audit; run `logitpair audit runs/net` first"):
        model_info(Run(name="net", path="runs/net"), "0123")
    with pytest.raises(InputError, match="are of other weights"):
        written(replace(audited(), weights="4567"))
