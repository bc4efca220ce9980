"""Reproducing tables of tiny networks: killed on the way, gone on with, and nothing done twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import forked_sweeps
import pytest

from logitpair.cli.main import main
from logitpair.reproduction.paper import Claim, Row, Target
from logitpair.storage.result_files import read_record
from logitpair.storage.results import AuditResults, EvaluationResults

MPGD = Row("M-PGD", "digits-mpgd", {"white_box": 93.2, "black_box": 96.0})
ENSEMBLE = Row("ensemble", "digits-ensemble")  # whose static source is digits-plain
TABLE = Target(
    title="A table of digits",
    columns=("white_box", "black_box", "clean"),
    rows=(MPGD, ENSEMBLE),
    claims=(Claim("M-PGD", "ensemble"),),
)
TRANSFER = Target(
    title="A transfer of digits",
    columns=(),
    rows=(MPGD,),
    sources=("digits-plain", "digits-ensemble"),
    transfer="pgd",
)
OPTIONS = ("--scale", "smoke", "--seeds", "1", "--jobs", "2", "--out")


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table, whose command was killed once."""
    out = tmp_path_factory.mktemp("reproduce") / "out"
    killed = forked_sweeps.start_reproduction(out.parent, {"table": TABLE}, "table", *OPTIONS, str(out))
    killed.wait_until(lambda: any(out.glob("runs/*/smoke/seed-*/training.json")))
    killed.signal(signal.SIGKILL)
    assert killed.wait().code == -signal.SIGKILL
    done = forked_sweeps.start_reproduction(out.parent, {"table": TABLE}, "all", *OPTIONS, str(out)).wait()
    assert done.code == 0, done.stderr
    return out


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("logitpair.cli.commands.reproduce", "logitpair.reproduction.plan"):  # the dict itself keeps its order for other tests
        monkeypatch.setattr(f"{module}.TARGETS", {"table": TABLE})


def trained(out: Path) -> set[str]:
    return {str(path.parent.relative_to(out / "runs")) for path in out.glob("runs/**/training.json")}


def test_each_run_is_trained_once_and_sources_under_another_seed(reproduced: Path) -> None:
    assert trained(reproduced) == {f"digits-{name}/smoke/seed-{seed}" for name in ("mpgd", "ensemble", "plain") for seed in (0, 1)}
    sources = (reproduced / "runs" / "digits-ensemble" / "smoke" / "seed-1" / "config.yaml").read_text()
    assert "digits-plain/smoke/seed-1" in sources


def test_what_is_recorded_has_one_shape_and_no_paths_of_this_machine(reproduced: Path) -> None:
    records = reproduced / "results"
    assert {str(path.relative_to(records)) for path in records.rglob("*.json")} == {
        f"digits-{name}/smoke/seed-0/{kind}.json" for name in ("mpgd", "ensemble") for kind in ("results", "audit")
    }
    for name in ("mpgd", "ensemble"):
        folder = records / f"digits-{name}" / "smoke" / "seed-0"
        evaluation = read_record(folder / "results.json", EvaluationResults, "test")
        audit = read_record(folder / "audit.json", AuditResults, "test")
        assert (evaluation.examples, audit.examples) == (8, 4)
        assert evaluation.test_images == audit.test_images == 447
        assert list(evaluation.black_box) == [f"digits-{name}"]
        assert evaluation.training is not None
        assert str(reproduced) not in (folder / "results.json").read_text() + (folder / "audit.json").read_text()


def test_the_page_has_the_papers_numbers_and_ours(reproduced: Path) -> None:
    text = (reproduced / "smoke" / "table.md").read_text()
    evaluation = json.loads((reproduced / "results" / "digits-mpgd" / "smoke" / "seed-0" / "results.json").read_text())
    assert "# A table of digits" in text
    assert " | 93.2 | " in text
    assert f"{100 * evaluation['white_box']['top1']:.1f} (" in text
    assert "M-PGD has a higher accuracy than ensemble, white box: " in text
    assert "A table of digits" in (reproduced / "smoke" / "table.html").read_text()


@pytest.mark.usefixtures("targets")
def test_the_same_command_again_does_nothing_and_a_dry_run_says_so(reproduced: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (reproduced / "runs").rglob("*") if path.name in ("results.json", "last.pt")}

    before = times()
    assert main(["reproduce", "table", *OPTIONS, str(reproduced)]) == 0
    assert times() == before
    capsys.readouterr()
    assert main(["reproduce", "table", *OPTIONS, str(reproduced), "--dry-run"]) == 0
    assert "10 of 10 steps are finished; left: 0." in capsys.readouterr().out


@pytest.mark.usefixtures("targets")
def test_what_is_recorded_is_not_done_again_elsewhere(reproduced: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["table", *OPTIONS, str(tmp_path / "out"), "--records", str(reproduced / "results")]
    assert main(["reproduce", *words, "--dry-run"]) == 0
    assert "2 of 2 runs are recorded" in " ".join(capsys.readouterr().out.split())
    assert main(["reproduce", *words]) == 0
    assert not (tmp_path / "out" / "runs").exists()
    assert (tmp_path / "out" / "smoke" / "table.md").read_bytes() == (reproduced / "smoke" / "table.md").read_bytes()


@pytest.mark.usefixtures("targets")
def test_a_dry_run_takes_times_from_like_runs_and_writes_nothing(reproduced: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = set(reproduced.rglob("*"))
    assert main(["reproduce", "table", "--scale", "smoke", "--seeds", "3", "--out", str(reproduced), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert set(reproduced.rglob("*")) == files
    assert "digits-mpgd/smoke/seed-2" in out
    assert "one after the other, by what runs" in out
    empty = reproduced.with_name("empty")
    assert main(["reproduce", "table", "--scale", "smoke", "--seeds", "1", "--out", str(empty), "--dry-run"]) == 0
    assert "The time of 10 is not known: no such run is in" in " ".join(capsys.readouterr().out.split())
    assert not empty.exists()


def test_another_target_shares_the_runs_and_keeps_the_sources(reproduced: Path, tmp_path: Path) -> None:
    before = trained(reproduced)
    done = forked_sweeps.start_reproduction(tmp_path, {"transfer": TRANSFER}, "transfer", *OPTIONS, str(reproduced)).wait()
    assert done.code == 0, done.stderr
    assert trained(reproduced) == before
    path = reproduced / "results" / "digits-mpgd" / "smoke" / "seed-0" / "results.json"
    assert set(read_record(path, EvaluationResults, "test").black_box) == {"digits-mpgd", "digits-plain", "digits-ensemble"}
    assert "| digits-plain |" in (reproduced / "smoke" / "transfer.md").read_text()


def test_a_run_that_diverges_leaves_the_others(reproduced: Path, tmp_path: Path) -> None:
    diverging = Row("diverging", "digits-plain", settings={"optimizer.lr": "1e30"})
    plain = Row("plain", "digits-plain", settings={"optimizer.lr": "0.002"})
    target = Target(title="A figure", columns=("white_box",), rows=(diverging, plain), figure=True)
    done = forked_sweeps.start_reproduction(tmp_path, {"figure": target}, "figure", *OPTIONS, str(reproduced)).wait()
    assert done.code == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("logitpair: error: 1 of 4 steps failed: digits-plain/smoke/optimizer.lr=1e+30/seed-0: train: step")
    assert "not finite" not in done.stdout, "why is said once"
    assert "optimizer.lr=0.002/seed-0: train, evaluate begins" in done.stdout
    text = (reproduced / "smoke" / "figure.md").read_text()
    assert "| diverging | – | – | – | not run |" in text  # noqa: RUF001
    assert "| plain | – | – | " in text  # noqa: RUF001
    assert (reproduced / "smoke" / "figure.html").exists()


def test_a_folder_that_was_moved_goes_on(reproduced: Path, tmp_path: Path) -> None:
    """Ensemble training names its static sources, and evaluations their sources, by where they were."""
    out = tmp_path / "moved"
    shutil.copytree(reproduced, out)
    reproduced.rename(hidden := reproduced.with_name("hidden"))
    try:
        folder = out / "runs" / "digits-ensemble" / "smoke" / "seed-0"
        config = (folder / "config.yaml").read_bytes()
        for missing in ("audit/results.json", "training.json"):
            (folder / missing).unlink()
            again = forked_sweeps.start_reproduction(tmp_path, {"table": TABLE}, "table", *OPTIONS, str(out)).wait()
            assert again.code == 0, again.stderr
            assert (folder / missing).exists()
            kept = (folder / "config.yaml").read_bytes() == config
            assert kept == (missing != "training.json"), "only what is to be trained is written anew"
        sources = dataclasses.replace(TRANSFER, sources=(*TRANSFER.sources, "digits-alp"))  # beside those that the evaluation has
        more = forked_sweeps.start_reproduction(tmp_path, {"transfer": sources}, "transfer", *OPTIONS, str(out)).wait()
        assert more.code == 0, more.stderr
    finally:
        hidden.rename(reproduced)
