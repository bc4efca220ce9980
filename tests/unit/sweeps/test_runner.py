"""Processes of a sweep: what they end with, what they share, and that they end when they are asked to."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from logitpair.errors import InputError
from logitpair.sweeps.runner import BAD_INPUT, Outcome, environments, heed, run_all


def test_jobs_share_threads_and_take_gpus_in_turn() -> None:
    assert environments(2, threads=3, gpus=[]) == [{"OMP_NUM_THREADS": "3"}] * 2
    pinned = environments(3, threads=1, gpus=["4", "7"])
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in pinned] == ["4", "7", "4"]


def test_a_run_ends_with_the_first_command_that_is_refused_and_its_line_names_the_run() -> None:
    runs = {"good": [["--version"]], "bad": [["--version"], ["train", "digits-apl"], ["audit"]]}
    outcomes = run_all(runs, environments(1, threads=1, gpus=[]), lambda: False)
    assert next(outcomes) == ("good", Outcome(0))
    with pytest.raises(InputError, match="^bad: recipe: no recipe 'digits-apl'.*$"):
        next(outcomes)


def test_a_refusal_gives_no_advice_that_only_the_runs_own_command_has_an_option_for() -> None:
    said = "--checkpoint: 'x' holds an evaluation of last, this one is of best; give another --name"
    with pytest.raises(InputError, match="^a: --checkpoint: .*, this one is of best; move that folder away$"):
        heed("a", Outcome(BAD_INPUT, said), set())
    with pytest.raises(InputError, match="^a: eps: at most 1; see --help$"):
        heed("a", Outcome(BAD_INPUT, "eps: at most 1; see --help"), set())


def test_what_can_begin_after_a_run_follows_it_once() -> None:
    begun: list[str] = []
    ended: list[str] = []

    def then() -> dict[str, list[list[str]]]:
        return {"first": [["recipes"]], **({"second": [["--version"]]} if ended else {})}

    places = environments(2, threads=1, gpus=[])
    for name, outcome in run_all({"first": [["--version"]]}, places, lambda: False, then=then, begin=begun.append):
        assert outcome == Outcome(0)
        ended.append(name)
        assert begun[: len(ended)] == ended
    assert ended == begun == ["first", "second"]


def test_what_is_waiting_does_not_start_once_the_sweep_stops() -> None:
    stopped = threading.Event()
    begun = time.monotonic()
    runs = {str(i): [["recipes"]] for i in range(100)}
    outcomes = run_all(runs, environments(1, threads=1, gpus=[]), stopped.is_set)
    assert next(outcomes) == ("0", Outcome(0))
    stopped.set()
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    assert time.monotonic() - begun < 60


def test_a_process_that_missed_the_request_to_end_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, ready = tmp_path / "child.py", tmp_path / "ready"
    script.write_text(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))  # as one that comes too late\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr("logitpair.sweeps.runner._python", lambda: [sys.executable, str(script)])
    outcomes = run_all({"run": [["recipes"]]}, environments(1, threads=1, gpus=[]), ready.exists)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    assert time.monotonic() - begun < 45


@pytest.mark.parametrize("code", [0, 7])
def test_a_process_looks_for_modules_in_the_current_folder_where_this_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    if code:
        monkeypatch.syspath_prepend(tmp_path)
    ((_, outcome),) = run_all({"run": [["--version"]]}, environments(1, threads=1, gpus=[]), lambda: False)
    assert outcome.code == code
