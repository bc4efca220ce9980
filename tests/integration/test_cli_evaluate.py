"""`logitpair evaluate` and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import failing

import logitpair as lp
from logitpair.cli.main import main


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "RUN: no folder"),
        (["--source", "copy"], "NAME=RUN"),
        (["--source", "white_box=run"], "--source: 'white_box' cannot be"),
        (["--source", "a=run", "--source", "a=other"], "--source: 'a' names 2 runs"),
        (["--checkpoint", "first"], "accepted: last, best"),
        (["--examples", "0"], "--examples"),
        (["--examples", "-3"], "--examples"),
        (["--batch-size", "0"], "--batch-size must be at least 1, not 0"),
        (["--batch-size", "all"], "--batch-size: expected a whole number or auto, not 'all'"),
        (["--processes", "0"], "--processes must be at least 1, not 0"),
        (["--verify", "--processes", "2"], "--processes goes with attacking"),
        (["--verify", "--engine", "eager"], "--engine goes with attacking"),
        (["--device", "tpu"], "--device"),
        (["--seed", "x"], "seed"),
    ],
)
def test_bad_options_of_evaluate(capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], message: str) -> None:
    run = tmp_path / "nowhere"
    assert message in failing(capsys, "evaluate", str(run), *options)


def test_evaluate_takes_attacks_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["train", "digits-plain", "--epochs", "0.2", "--validation.examples", "10", "--out", run]) == 0
    gate = ["--json", "--fail-under", "1", "--junit", str(tmp_path / "junit.xml")]
    capsys.readouterr()
    assert main(["evaluate", run, "--examples", "5", "--attacks", "paper", "--name", "paper", *gate]) == 4
    results = json.loads(capsys.readouterr().out)
    assert (tmp_path / "junit.xml").read_text().count("<testcase ") == len(results["attacks"]) + 1
    assert results == json.loads((tmp_path / "run" / "evaluation" / "paper" / "results.json").read_text())
    assert set(results["attacks"]) == set(lp.attacks.paper_suite(eps=0.1, step_size=0.1, steps=1))
    sizes = results["attacks"]["pgd_ll"]["parameters"]["init_args"]
    assert (sizes["threat"]["init_args"]["eps"], sizes["steps"]) == (0.2, 40), "those of the recipe's attack"
    assert main(["evaluate", run, "--examples", "5", "--attacks", "paper", "--name", "only", "--worst-case-only", "--json"]) == 0
    only = json.loads(capsys.readouterr().out)
    assert set(only["in_turn"]) == set(results["attacks"])
    assert only["white_box_union"]["correct"] == results["white_box_union"]["correct"]
    assert main(["report", run, "--out", str(tmp_path / "page.html")]) == 0
    refused = failing(capsys, "evaluate", run, "--examples", "5", "--attacks", "paper", "--name", "paper", "--worst-case-only")
    assert "holds an evaluation with what each attack leaves alone, which this one is without; give another --name" in refused
    assert "--worst-case-only goes with attacking" in failing(capsys, "evaluate", run, "--name", "only", "--verify", "--worst-case-only")
    assert "--attacks: 'pgd': no such attack; accepted" in failing(capsys, "evaluate", run, "--attacks", "pgd")
    settings = {"threat": {"eps": 0.1}, "step_size": 0.1, "steps": 1, "loss": "os.system"}
    (tmp_path / "mine.yaml").write_text(json.dumps({"mine": {"class_path": "logitpair.attacks.PGD", "init_args": settings}}))
    line = failing(capsys, "evaluate", run, "--attacks", str(tmp_path / "mine.yaml"), "--examples", "20", "--name", "mine")
    assert "error: attacks: mine: loss: " in line
    assert "system cannot be called with logits and labels" in line


@pytest.mark.slow
def test_two_processes_find_what_one_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", "digits-plain", "--epochs", "0.2", "--validation.examples", "10", "--out", str(run)]) == 0
    attack = ["--examples", "10", "--attacks", "pgd_25_5_3", "--batch-size", "3", "--json", "--fail-under", "1"]
    # by itself, since what checks shapes in tests makes other code of the losses, which the processes would not take for the same
    command = [sys.executable, "-m", "logitpair", "evaluate", str(run), "--name", "two", "--processes", "2", *attack]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("logitpair: failed: ") == done.stderr.count("Wrote ") == 1, "each process speaks"
    capsys.readouterr()
    assert main(["evaluate", str(run), "--name", "one", *attack]) == 4
    two, one = json.loads(done.stdout), json.loads(capsys.readouterr().out)
    assert (one["hardware"].get("processes"), two["hardware"]["processes"], two["hardware"]["threads"]) == (None, 2, 1)
    assert one["white_box"] == two["white_box"]
    ledgers = [run / "evaluation" / name / "ledger.npz" for name in ("one", "two")]
    assert ledgers[0].read_bytes() == ledgers[1].read_bytes()
