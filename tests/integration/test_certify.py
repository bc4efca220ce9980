"""`logitpair certify` as a user meets it: a run, its gate, an audit that takes the certificate, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import failing
from PIL import Image

import logitpair as lp
from logitpair.cli.main import main

OPTIONS = ["--examples", "12", "--eps", "0.001", "--device", "cpu"]


@pytest.fixture(scope="module")
def certified(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a certificate."""
    run = shutil.copytree(digits_run, tmp_path_factory.mktemp("run") / "plain")
    assert main(["certify", str(run), *OPTIONS, "--method", "crown-ibp", "--batch-size", "5"]) == 0
    return run


def test_a_run_is_certified(certified: Path) -> None:
    found = lp.Certificate.load(certified / "certificate")
    results = found.results
    assert [entry["name"] for entry in results["methods"]] == ["ibp", "crown-ibp"]
    assert results["threat"]["init_args"]["eps"] == 0.001
    assert results["recipe"] == "digits-plain"
    assert 0 < results["certified"]["correct"] <= results["clean"]["correct"]
    assert len(found.ledger["certified_by"]) == results["examples"] == 12
    assert not (certified / "certificate" / "parts").exists()


@pytest.mark.parametrize(("least", "code"), [("0", 0), ("1", 4)])
def test_the_gate(certified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], least: str, code: int) -> None:
    run, junit = shutil.copytree(certified, tmp_path / "run"), tmp_path / "junit.xml"
    assert main(["certify", str(run), *OPTIONS, "--method", "crown-ibp", "--fail-under", least, "--json", "--junit", str(junit)]) == code
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert record == json.loads((run / "certificate" / "results.json").read_text())
    assert record["kind"] == "certificate"
    suite = ElementTree.parse(junit).getroot()[0]  # noqa: S314
    (case,) = suite
    assert case.get("name") == "certified accuracy"
    assert case.get("classname") == f"{run}.certificate"
    assert len(case.findall("failure")) == (code == 4)
    assert ("logitpair: failed: certified accuracy" in captured.err) == (code == 4)


def test_an_audit_takes_the_certificate(certified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(certified, tmp_path / "run")
    assert main(["audit", str(run), *OPTIONS, "--budget", "20"]) == 0
    assert "lies between the certified" in " ".join(capsys.readouterr().out.split())
    found, by = lp.Audit.load(run / "audit"), lp.Certificate.load(run / "certificate").ledger["certified_by"] >= 0
    np.testing.assert_array_equal(found.ledger["certified"], by)
    assert (found.ledger["gradients"][by] == 0).all()
    assert found.results["certified"]["correct"] == by.sum()


def test_an_audit_in_a_larger_ball_goes_on_without_it(certified: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = shutil.copytree(certified, tmp_path / "run")
    options = [option if option != "0.001" else "0.002" for option in OPTIONS]
    assert main(["audit", str(run), *options, "--budget", "5"]) == 0
    assert "certificate' is not used: certificate: is of Linf(eps=0.001)" in caplog.text
    assert "certified" not in lp.Audit.load(run / "audit").results


def test_one_that_says_less_is_not_written_over(certified: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (certified / "certificate" / "results.json").read_bytes()
    for options, said in ((["--examples", "5", "--eps", "0.001"], "--examples: "), (["--examples", "12", "--eps", "0.002"], "--eps: ")):
        error = failing(capsys, "certify", str(certified), *options, "--method", "crown-ibp")
        assert said in error
        assert "holds a certificate of 12 images at eps 0.001" in error
    error = failing(capsys, "certify", str(certified), *OPTIONS, "--method", "ibp")
    assert "--method: " in error
    assert "holds a certificate by crown-ibp, this one is by ibp; give --method crown-ibp" in error
    assert (certified / "certificate" / "results.json").read_bytes() == before


def test_one_of_fewer_branches_is_not_written_over(digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(digits_run, tmp_path / "plain")
    options = ["--examples", "2", "--eps", "0.001", "--device", "cpu", "--method", "beta-crown", "--branches"]
    assert main(["certify", str(run), *options, "8"]) == 0
    assert lp.Certificate.load(run / "certificate").record.branches == 8
    error = failing(capsys, "certify", str(run), *options, "4")
    assert "holds a certificate with --branches 8, this one has 4; give --branches 8" in error
    assert main(["certify", str(run), *options, "16"]) == 0
    assert lp.Certificate.load(run / "certificate").record.branches == 16


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "milp"], "--method: 'milp' is not accepted; accepted: ibp, crown-ibp, crown, alpha-crown, beta-crown"),
        (["--method", "beta-crown", "--branches", "1"], "--branches must be at least 2, not 1"),
        (["--branches", "8"], "--branches: crown does not branch; give --method beta-crown"),
        (["--method", "beta-crown", "--branches", "100000000000000000000"], "--branches must be at most 100,000"),
        (["--eps", "0"], "--eps: '0' is no radius"),
        (["--eps", "x"], "--eps: 'x' is no number"),
        (["--examples", "0"], "--examples must be at least 1"),
        (["--checkpoint", "first"], "--checkpoint: 'first' is not accepted"),
        (["--source", "a=b"], "no option --source"),
        (["--fail-under", "2"], "--fail-under: '2' is no accuracy"),
    ],
)
def test_bad_input_is_one_line(certified: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in failing(capsys, "certify", str(certified), *options)


def test_after_a_network_of_one_s_own_no_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, grey in (("black", 0), ("white", 255)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4), (grey, grey, grey)).save(tmp_path / "photos" / name / "1.png")
    (tmp_path / "flat.py").write_text("from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    network = ["--model", "flat:make", "--data-dir", "photos", "--size", "4", "--eps", "0.001", "--device", "cpu", "--out", "out"]
    assert main(["certify", *network, "--method", "ibp"]) == 0
    assert "Next: logitpair audit with --model and its options as here, and --out out" in capsys.readouterr().out
    assert main(["audit", *network, "--budget", "5"]) == 0
    assert "certified" in lp.Audit.load("out/audit").results


def test_neither_run_nor_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--eps is not given" in failing(capsys, "certify", "--model", "timm:resnet18")
    assert "RUN: give either a run directory or --model" in failing(capsys, "certify")
