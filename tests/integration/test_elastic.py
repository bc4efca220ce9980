"""Workers are killed, leave and come back, and the run ends as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from many_processes import learn, together

pytest.importorskip("torchft")

from elastic_workers import CHANGES, lighthouse, start, steps, until

from logitpair.storage import checkpoint


def test_a_killed_worker_costs_nothing_but_time_and_comes_back_equal(tmp_path: Path) -> None:
    run, gate, ready = tmp_path / "run", tmp_path / "gate", tmp_path / "ready"
    logs = [tmp_path / f"{name}.txt" for name in ("first", "second", "third", "again")]
    fatal = random.randint(2, 8)  # noqa: S311
    with lighthouse(2) as address:
        wait = gate, 12, 0.1
        first, second, third = (start(run, log, address, wait, None) for log in logs[:3])
        until(lambda: len(steps(logs[0])) >= fatal)
        os.kill(first.pid, signal.SIGKILL)
        first.join()
        until(lambda: max(steps(logs[1]), default=0) == max(steps(logs[2]), default=0) == 12)
        again = start(run, logs[3], address, wait, ready)
        until(ready.exists)
        gate.touch()
        until(lambda: len(steps(logs[3])) >= 2)
        os.kill(again.pid, signal.SIGTERM)
        for process in (again, second, third):
            process.join(60)
            assert process.exitcode == 0

    taken = [steps(log) for log in logs]
    assert fatal <= max(taken[0]) <= 12
    for survivor in taken[1:3]:  # which may have begun when the others had taken a step
        assert survivor.keys() == set(range(min(survivor), 25)), "a survivor left out a step"
    for step in range(1, 25):
        assert len({worker[step][0] for worker in taken if step in worker}) == 1, f"killed at {fatal}: workers differ after step {step}"
    assert min(taken[3]) > 12
    assert max(taken[3]) < 24, "it should leave before the end"

    whole = tmp_path / "whole"
    together(learn, 2, whole, None, CHANGES)  # the average is over exactly two: else the weights would be others
    found, expected = (checkpoint.load(folder / "checkpoints" / "last.pt") for folder in (run, whole))
    assert found["step"] == expected["step"] == 24
    for part in ("model", "ema"):
        for name, value in expected[part].items():
            torch.testing.assert_close(found[part][name], value, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    lines, others = ([json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (run, whole))
    assert {line["step"] for line in lines} <= {line["step"] for line in others}
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})
    assert lines[-1]["step"] == 24
    for name in ("loss", "gradient_norm", "validation_white_box"):
        assert lines[-1][name] == pytest.approx(others[-1][name], rel=1e-6)
