"""`logitpair evaluate` as a process of its own: killed, resumed, shared between processes, verified."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest

from logitpair.cli.main import main

SLOW = "pgd_25_1_20,iterll_25_1_5"  # sizes in 1/255; long enough to be caught in the middle
UNEQUAL = ("created", "wall_time_seconds", "seconds", "hardware", "ledger_sha256", "name")


@pytest.fixture(scope="module")
def run(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(digits_run, tmp_path_factory.mktemp("run") / "plain")


def command(run: Path, name: str, *options: str) -> list[str]:
    shared = ["--attacks", SLOW, "--batch-size", "8", "--device", "cpu", "--source", f"itself={run}"]
    return ["evaluate", str(run), "--name", name, *shared, *options]


def results(run: Path, name: str) -> Any:
    def untimed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: untimed(part) for key, part in value.items() if key not in UNEQUAL}
        return [untimed(part) for part in value] if isinstance(value, list) else value

    return untimed(json.loads((run / "evaluation" / name / "results.json").read_text()))


def ledger(run: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(run / "evaluation" / name / "ledger.npz") as arrays:
        return dict(arrays)


def same(run: Path, one: str, other: str) -> None:
    assert results(run, one) == results(run, other)
    first, second = ledger(run, one), ledger(run, other)
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert commands.run(tmp_path_factory.mktemp("logs"), *command(run, "whole", "--examples", "48")).code == 0
    return run


def test_killed_in_the_middle_it_goes_on_to_the_same_results(whole: Path, tmp_path: Path) -> None:
    parts = whole / "evaluation" / "killed" / "parts"
    killed = commands.start(tmp_path, *command(whole, "killed", "--examples", "48"))
    killed.wait_until(lambda: len(list(parts.glob("*/*.npz"))) >= 2)
    killed.signal(signal.SIGKILL)
    assert killed.wait().code == -signal.SIGKILL
    before = len(list(parts.glob("*/*.npz")))
    assert 2 <= before < 6
    assert not (whole / "evaluation" / "killed" / "results.json").exists(), "nothing partial is taken for whole"
    assert commands.run(tmp_path, *command(whole, "killed", "--examples", "48")).code == 0
    same(whole, "whole", "killed")
    assert not parts.exists()


def test_four_processes_come_to_the_results_of_one(whole: Path, tmp_path: Path) -> None:
    done = commands.run(tmp_path, *command(whole, "four", "--examples", "48"), processes=4)
    assert done.code == 0, done.stderr
    assert done.stdout.count("Wrote") == 1
    same(whole, "whole", "four")


def test_the_images_that_two_processes_keep_are_all_of_them(run: Path, tmp_path: Path) -> None:
    made_by_two = command(run, "shared", "--examples", "20", "--attacks", "pgd_25_5_5", "--keep-adversarial")
    done = commands.run(tmp_path, *made_by_two, processes=2)
    assert done.code == 0, done.stderr
    assert main(["evaluate", str(run), "--name", "shared", "--verify"]) == 0
    verification = json.loads((run / "evaluation" / "shared" / "verification.json").read_text())
    assert [(attack["setting"], attack["total"]) for attack in verification["attacks"]] == [("white_box", 20), ("itself", 20)]
    assert verification["weights"] == results(run, "shared")["weights"]


def test_kept_images_are_verified_against_the_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--attacks", "pgd_25_5_10,pgdll_25_5_10", "--examples", "20", "--name", "kept"]
    assert main(["evaluate", str(run), *options]) == 0
    assert main(["evaluate", str(run), "--name", "kept", "--verify"]) == 2
    assert "--keep-adversarial" in capsys.readouterr().err
    assert main(["evaluate", str(run), *options, "--keep-adversarial"]) == 0
    assert main(["evaluate", str(run), "--name", "kept", "--verify"]) == 0
    assert "8 bits" in capsys.readouterr().out
    verification = json.loads((run / "evaluation" / "kept" / "verification.json").read_text())
    assert verification["holds"]
    assert [attack["attack"] for attack in verification["attacks"]] == ["pgd_25_5_10", "pgdll_25_5_10"]
    assert main(["evaluate", str(run), *options]) == 2
    assert "holds an evaluation with --keep-adversarial" in capsys.readouterr().err
    assert main(["evaluate", str(run), *options, "--keep-adversarial", "--checkpoint", "best"]) == 2
    assert "--checkpoint: " in capsys.readouterr().err
    name = results(run, "kept")["attacks"]["pgd_25_5_10"]["images"]["folder"]
    path = next((run / "evaluation" / "kept" / "adversarial" / name).glob("*.npz"))
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez(path, **(content | {"x_adv": np.ones_like(content["x_adv"])}))
    assert main(["evaluate", str(run), "--name", "kept", "--verify"]) == 2
    assert "do not do what" in capsys.readouterr().err


def test_a_larger_evaluation_is_not_written_over(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--attacks", "fgsm_25", "--name", "kept-whole"]
    assert main(["evaluate", str(run), *options, "--examples", "30"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), *options, "--examples", "20"]) == 2
    assert "--examples: " in (said := capsys.readouterr().err)
    assert "another --name" in said
    assert main(["evaluate", str(run), *options, "--examples", "30"]) == 0


@pytest.mark.filterwarnings("ignore:--source itself")
def test_an_evaluation_by_other_attacks_or_with_fewer_sources_is_not_written_over(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = ["evaluate", str(run), "--name", "kept-suite", "--examples", "20"]
    source = ["--source", f"itself={run}"]
    assert main([*evaluate, "--attacks", "fgsm_25,pgd_25_5_2", *source]) == 0
    capsys.readouterr()
    for attacks, sources, lost in (
        ("fgsm_25", source, "attack 'pgd_25_5_2'"),
        ("fgsm_20", source, "attack 'fgsm_25' and 1 more"),
        ("fgsm_25,pgd_25_5_2", [], "source 'itself'"),
    ):
        assert main([*evaluate, "--attacks", attacks, *sources]) == 2
        assert f"holds an evaluation with {lost}, which this one is without; give another --name" in capsys.readouterr().err
    assert main([*evaluate, "--attacks", "fgsm_25,pgd_25_5_2,bim_25_5_2", *source]) == 0


@pytest.mark.filterwarnings("default")
def test_more_examples_than_there_are_and_names_that_are_not_there(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--attacks", "fgsm_25", "--name", "all", "--examples", "5000"]) == 0
    assert "--examples: 5,000 is more than the 447 there are" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--verify", "--name", "nowhere"]) == 2
    assert "has no evaluation 'nowhere'; it has " in (said := capsys.readouterr().err)
    assert "all" in said


def test_a_transfer_between_runs(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    assert main(["train", "digits-plain", "--epochs", "0.2", "--validation.examples", "10", "--seed", "1", "--out", str(other)]) == 0
    options = ["--attacks", "pgd_25_5_5,fgsm_25", "--examples", "20"]
    assert main(["transfer", str(run), str(other), *options, "--out", str(tmp_path)]) == 0  # where one of the runs lives
    assert (other / "checkpoints" / "last.pt").exists()
    assert "made against" in capsys.readouterr().out
    ours = results(run, "transfer")["black_box"]["other"]
    assert main(["evaluate", str(run), "--source", f"other={other}", *options, "--name", "pair"]) == 0
    pair = results(run, "pair")["black_box"]["other"]
    assert {name: entry["correct"] for name, entry in ours["attacks"].items()} == {
        name: entry["correct"] for name, entry in pair["attacks"].items()
    }
    assert (tmp_path / "report.html").exists()
    assert main(["transfer", str(run), str(other), *options, "--out", str(tmp_path / "matrix"), "--name", "again"]) == 0
    assert not list(tmp_path.rglob("unfinished"))
    assert 'class="heat"' in (tmp_path / "matrix" / "report.html").read_text()
    capsys.readouterr()
    assert main(["transfer", str(run)]) == 2
    assert "two or more" in capsys.readouterr().err
    assert main(["transfer", str(run), str(run)]) == 2
