"""The demo on tiny recipes: side by side as one after the other, stopped, resumed, and with a network that diverges."""

from __future__ import annotations

import signal
from pathlib import Path

import forked_sweeps
import pytest
import torch
import yaml
from commands import Done

import logitpair as lp
from logitpair.cli.main import main
from logitpair.config import recipes
from logitpair.storage.result_files import read_record
from logitpair.storage.results import EvaluationResults

pytestmark = pytest.mark.slow

TINY = ("plain.yaml", "mpgd.yaml", "alp.yaml")


def write_recipes(folder: Path, **changes: object) -> None:
    """``TINY``: the demo's recipes with settings that take no time."""
    folder.mkdir(exist_ok=True)
    attack = {"class_path": "logitpair.attacks.PGD", "init_args": {"threat": {"eps": 0.2}, "step_size": 0.1, "steps": 2}}
    for name in TINY:
        run = recipes.load(f"digits-{Path(name).stem}").at_scale("smoke")
        tiny = {"epochs": 0.2, "validation": run["validation"] | {"examples": 10}, "evaluation": {"attacks": {"pgd": attack}, "curve": []}}
        (folder / name).write_text(yaml.safe_dump({"run": run | tiny | changes}))


def demo(folder: Path, *options: str) -> Done:
    return forked_sweeps.start_demo(folder, TINY, *options).wait()


def results(folder: Path) -> EvaluationResults:
    return read_record(folder / "evaluation" / "test" / "results.json", EvaluationResults, "test")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_recipes(folder)
    done = demo(folder, "--jobs", "2", "--seed", "3")
    assert (done.code, done.stderr) == (0, "")
    for name in TINY:
        assert f"{name}: Training 4 steps" in done.stdout
        assert f"{name}: step 4/4" in done.stdout
        assert f"{name}: evaluate done" in done.stdout
    assert "Next:" not in done.stdout, "steps of the three networks are not for the reader to take"
    return folder


def test_side_by_side_gives_the_numbers_of_one_after_the_other(shown: Path, tmp_path: Path) -> None:
    write_recipes(tmp_path)
    done = demo(tmp_path, "--jobs", "1", "--seed", "3")
    assert (done.code, done.stderr) == (0, "")
    for name in TINY:
        one, two = tmp_path / "demo" / name, shown / "demo" / name
        alone, together = lp.load(one).state_dict(), lp.load(two).state_dict()
        assert all(torch.equal(value, together[key]) for key, value in alone.items())
        first, second = results(one), results(two)
        assert set(first.black_box) == set(first.sources) == set(TINY) - {name}
        assert first.clean == second.clean
        ledgers = [(folder / "evaluation" / "test" / "ledger.npz").read_bytes() for folder in (one, two)]
        assert ledgers[0] == ledgers[1], "every image under every attack"
        assert (first.seed, first.sources) == (3, second.sources)
        assert (first.training and first.training.hardware.threads) == 1


def test_the_page_and_the_table_have_the_three_networks(shown: Path) -> None:
    page = (shown / "demo" / "report.html").read_text()
    assert all(f"demo/{name}" in page for name in TINY)


def test_asked_to_stop_all_networks_are_saved_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_recipes(tmp_path, epochs=400, checkpoint_every=100000)
    stopped = forked_sweeps.start_demo(tmp_path, TINY, "--jobs", "2")
    metrics = [tmp_path / "demo" / name / "metrics.jsonl" for name in TINY[1:]]  # the two that begin
    stopped.wait_until(lambda: all(file.exists() and file.stat().st_size > 0 for file in metrics))
    stopped.signal(signal.SIGTERM)
    done = stopped.wait(60)
    assert done.code == 130
    assert done.stderr == "logitpair: stopped; the same command again goes on\n"
    assert all((file.parent / "checkpoints" / "last.pt").exists() for file in metrics)
    assert not (tmp_path / "demo" / TINY[0] / "checkpoints").exists()
    again = forked_sweeps.start_demo(tmp_path, TINY, "--jobs", "2")
    again.wait_until(lambda: again.out.read_text().count(": Resuming at step ") == 2)
    again.signal(signal.SIGTERM)
    assert again.wait(60).code == 130


def test_a_network_that_diverges_is_named_in_one_line(tmp_path: Path) -> None:
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e30}}
    write_recipes(tmp_path, optimizer=optimizer)
    done = demo(tmp_path, "--jobs", "1")
    assert done.code == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("logitpair: error: alp.yaml: train failed: ")
    assert "not finite" in line


def test_what_cannot_be_is_refused_before_anything_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--jobs", "0", "--out", str(tmp_path / "out")]) == 2
    assert "--jobs must be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
