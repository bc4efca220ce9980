"""`logitpair export --format robustbench`: the record of an audited run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import failing
from handmade_audits import audit
from msgspec.structs import replace

import logitpair as lp
from logitpair.cli.main import main
from logitpair.storage.model_fingerprint import weights_of
from logitpair.storage.result_files import write_record
from logitpair.storage.results import DataSet

FORMAT = ("--format", "robustbench")


@pytest.fixture
def run(digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run in the current folder, whose audit is said to be on CIFAR-10."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits_run, "run")
    data = DataSet(name="CIFAR-10", split="test", class_names=tuple("abc"))
    Path("run/audit").mkdir()
    write_record(Path("run/audit/results.json"), replace(audit(101), weights=weights_of(lp.load("run")), data=data))
    return Path("run")


def test_the_record_is_written_into_the_run_or_where_it_is_wanted(run: Path) -> None:
    assert main(["export", "run", *FORMAT]) == 0
    record = json.loads((run / "model_info.json").read_text())
    assert (record["dataset"], record["reported"], record["autoattack_acc"]) == ("cifar10", "50.50", None)
    assert record["architecture"].startswith("SmallConvNet(")
    assert main(["export", "run", *FORMAT, "--out", "Net2026Digits.json"]) == 0
    assert json.loads(Path("Net2026Digits.json").read_text()) == record


def test_what_does_not_go_with_a_record_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--shape goes with a format of networks" in failing(capsys, "export", "run", *FORMAT, "--shape", "1x8x8")
    assert "--data-dir goes with a format of networks" in failing(capsys, "export", "run", *FORMAT, "--data-dir", ".")
    assert "does not end in .json" in failing(capsys, "export", "run", *FORMAT, "--out", "run/config.yaml")
    assert "accepted: safetensors, torch-export, onnx, robustbench" in failing(capsys, "export", "run", "--format", "keras")
    shutil.rmtree(run / "audit")
    assert "has no audit; run `logitpair audit run` first" in failing(capsys, "export", "run", *FORMAT)


def test_the_command_that_follows_names_a_size_where_the_file_does_not(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for format, size in (("safetensors", ""), ("torch-export", "--size SIZE ")):
        assert main(["export", "run", "--format", format]) == 0
        assert f" {size}--data-dir PHOTOS --eps EPS" in capsys.readouterr().out.replace("\n", " ")
