"""`logitpair audit` as a user meets it: a run, a custom network, two processes, a kill, bad input."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
import torch
from PIL import Image

import logitpair as lp
from logitpair.cli.main import main

UNEQUAL = ("created", "wall_time_seconds", "seconds", "hardware", "ledger_sha256")


@pytest.fixture(scope="module")
def run(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(digits_run, tmp_path_factory.mktemp("run") / "plain")


def command(run: Path) -> list[str]:
    return ["audit", str(run), "--examples", "24", "--batch-size", "8", "--budget", "30", "--device", "cpu", "--eps", "0.1"]


def results(run: Path) -> Any:
    def untimed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: untimed(part) for key, part in value.items() if key not in UNEQUAL}
        return [untimed(part) for part in value] if isinstance(value, list) else value

    return untimed(json.loads((run / "audit" / "results.json").read_text()))


def test_killed_shared_by_two_processes_and_alone_it_comes_to_the_same(run: Path, tmp_path: Path) -> None:
    assert commands.run(tmp_path / "whole", *command(run)).code == 0
    alone = results(run)
    (run / "audit").rename(tmp_path / "alone")
    run = shutil.copytree(run, tmp_path / "run")
    killed = commands.start(tmp_path / "killed", *command(run))
    killed.wait_until(lambda: len(list((run / "audit").glob("parts/*/*.npz"))) >= 4)
    killed.signal(signal.SIGKILL)
    assert killed.wait().code == -signal.SIGKILL
    assert not (run / "audit" / "results.json").exists()
    junit = tmp_path / "junit.xml"
    done = commands.run(tmp_path / "shared", *command(run), "--json", "--junit", str(junit), "--fail-under", "1", processes=2)
    assert done.codes == [4, 0], done.stderr
    assert json.loads(done.stdout) == json.loads((run / "audit" / "results.json").read_text()), "written by the first process alone"
    assert junit.read_text().count("<testcase ") == 2 + len(json.loads(done.stdout)["findings"])
    assert done.stderr.count("logitpair: failed: robust accuracy") == 1
    assert results(run) == alone
    assert not (run / "audit" / "parts").exists()
    ledger, before = lp.Audit.load(run / "audit").ledger, lp.Audit.load(tmp_path / "alone").ledger
    for name, column in before.items():
        np.testing.assert_array_equal(column, ledger[name], err_msg=name)


def test_the_number_of_an_evaluation_is_judged(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--attacks", "pgd_25_5_10", "--examples", "40"]
    run = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("audit"))
    assert commands.run(tmp_path / "evaluate", "evaluate", str(run), *options, "--name", "reported").code == 0
    done = commands.run(tmp_path / "audit", "audit", str(run), *options, "--budget", "30")
    assert done.code == 0, done.stderr
    said = done.stdout
    assert any(verdict in said for verdict in ("trustworthy", "overestimated", "inconclusive"))
    reference = results(run)["reference"]
    assert reference["evaluation"] == "reported"
    assert not reference["measured"]
    assert reference["correct"] == json.loads((run / "evaluation" / "reported" / "results.json").read_text())["white_box"]["correct"]
    assert {"recipe", "step"} <= results(run).keys()
    before = (run / "audit" / "results.json").read_bytes()
    for other, said in ((["--examples", "20"], "--examples"), (["--examples", "40", "--eps", "0.2"], "--eps")):
        assert main(["audit", str(run), *options[:2], *other]) == 2
        error = capsys.readouterr().err
        assert f"{said}: " in error
        assert "holds an audit of 40 images at eps 0.098" in error
    assert (run / "audit" / "results.json").read_bytes() == before


def test_a_network_and_photos_of_ones_own(tmp_path: Path) -> None:
    for label in ("0", "1"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    torch.manual_seed(0)
    torch.jit.script(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)).eval()).save(tmp_path / "net.pt")
    (tmp_path / "labels.txt").write_text("0\n1\n")
    where = [
        "--data-dir",
        str(tmp_path / "photos"),
        "--labels",
        str(tmp_path / "labels.txt"),
        "--size",
        "8",
        "--out",
        str(tmp_path / "out"),
    ]
    done = commands.run(tmp_path / "logs", "audit", "--model", str(tmp_path / "net.pt"), *where, "--eps", "8/255", "--budget", "30")
    assert done.code == 0, done.stderr
    found = lp.Audit.load(tmp_path / "out" / "audit")
    assert found.results["threat"]["init_args"]["eps"] == pytest.approx(8 / 255)
    assert found.results["network"]["name"].endswith("net.pt")
    options = ["--model", str(tmp_path / "net.pt"), *where[:-1], str(tmp_path / "l2"), "--norm", "l2", "--eps", "1.5", "--budget", "10"]
    done = commands.run(tmp_path / "l2-logs", "audit", *options)
    assert done.code == 0, done.stderr
    assert lp.Audit.load(tmp_path / "l2" / "audit").results["threat"] == {"class_path": "logitpair.threat.L2", "init_args": {"eps": 1.5}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--eps", "x"], "--eps: 'x' is no number"),
        (["--eps=-1/255"], "--eps: '-1/255' is no radius; accepted: above 0 and at most 1"),
        (["--eps", "0"], "--eps: '0' is no radius"),
        (["--norm", "l1"], "--norm: 'l1' is not accepted; accepted: linf, l2"),
        (["--norm", "l2"], "--norm: needs --eps, as the radius of Linf(eps="),
        (["--precision", "int8"], "--precision: 'int8' is not accepted; accepted: float32, bfloat16, auto"),
        (["--attacks", "pgdll_25_5_5"], "--attacks: the first one must be an untargeted PGD"),
        (["--budget", "0"], "budget must be above 0"),
        (["--source", "copy"], "--source: 'copy' is not NAME=RUN"),
        (["--examples", "0"], "--examples must be at least 1"),
        (["--checkpoint", "first"], "--checkpoint: 'first' is not accepted"),
    ],
)
def test_bad_input_is_one_line(run: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(run), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_neither_run_nor_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit"]) == 2
    assert "RUN: give either a run directory or --model" in capsys.readouterr().err
    assert main(["audit", "--model", "timm:resnet18"]) == 2
    assert "--eps is not given" in capsys.readouterr().err
