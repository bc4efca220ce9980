"""The benchmark of training throughput: its logic on the CPU, and its shell script."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from jsonargparse import ArgumentParser

from logitpair.cli.commands import train

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ["--recipes", "imagenet-alp-inception_v3", "--device", "cpu", "--matrix", "64", "--steps", "1", "--batch", "2", "--data.size", "8"]
TINY += ["--model", "SmallConvNet", "--model.channels", "3", "--model.size", "8", "--model.width", "4", "--objective.attack.steps", "1"]


@pytest.fixture(scope="module")
def throughput() -> ModuleType:
    spec = importlib.util.spec_from_file_location("throughput", BENCHMARKS / "throughput.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["throughput"] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


def test_steps_of_the_recipe_are_timed(throughput: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def counted(config: object, state: object, network: object, batch: object, *others: object) -> object:
        taken.append(len(batch))  # type: ignore[arg-type]
        return train_step(config, state, network, batch, *others)

    train_step = throughput.train_step
    monkeypatch.setattr(throughput, "train_step", counted)
    throughput.main([*TINY, "--most", "4", "--precision", "float32", "--out", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert taken == [2] * 4 + [4] * 4
    assert found["hardware"]["device"] == "cpu"
    measured = found["recipes"]["imagenet-alp-inception_v3"]
    assert (measured["precision"], measured["shape"], measured["until_full"]) == ("float32", [3, 8, 8], False)
    assert [speed["batch"] for speed in measured["speeds"]] == [2, 4]
    for speed in measured["speeds"]:
        reached = speed["images_per_second"] * measured["flops_an_image"] / found["matmul"]["float32"]["flops_a_second"]
        assert speed["share"] == pytest.approx(reached, abs=1e-5, rel=1e-2)
        assert speed["peak_gibibytes"] is None


def test_the_batch_doubles_until_the_memory_is_full(throughput: ModuleType) -> None:
    tried = []

    def measured(batch: int) -> object:
        tried.append(batch)
        if batch > 100:
            raise torch.OutOfMemoryError("full")
        return throughput.Speed(batch, 0.5, 3 * 2**30)

    speeds = list(throughput.until_full(measured, 32, None))
    assert tried == [32, 64, 128]
    assert [speed.batch for speed in speeds] == [32, 64]
    assert [speed.batch for speed in throughput.until_full(measured, 32, 50)] == [32]
    said = throughput.report(speeds[1], flops=1e12, peak=256e12)
    assert said == {"batch": 64, "images_per_second": 128.0, "seconds_a_step": 0.5, "share": 0.5, "peak_gibibytes": 3.0}


def test_the_peak_counts_a_multiplication_and_an_addition(throughput: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    assert throughput.matmul_peak(8, torch.float32, torch.device("cpu"), times=5, rounds=2) == 2 * 8**3 * 5


@pytest.mark.parametrize(("options", "said"), [(["--device", "cpu"], "for numbers of a GPU"), ([], "no GPU is here")])
def test_a_cpu_is_not_recorded_as_a_gpu(
    throughput: ModuleType, options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        throughput.main(options)
    assert said in capsys.readouterr().err


def test_the_script_measures_once_and_names_what_exists(tmp_path: Path) -> None:
    # `python` and `logitpair` write down how they are called
    (tmp_path / "bin").mkdir()
    for name in ("python", "logitpair"):
        (tmp_path / "bin" / name).write_text(f'#!/bin/bash\necho "{name} $*" >> log\n')
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "results" / "benchmarks").mkdir(parents=True)
    (tmp_path / "results" / "benchmarks" / "throughput.json").touch()
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    subprocess.run(["bash", str(BENCHMARKS / "imagenet.sh"), "images"], cwd=tmp_path, env=os.environ | {"PATH": path}, check=True)
    log = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [words[:2] for words in log[1:]] == [["logitpair", "train"], ["logitpair", "evaluate"], ["logitpair", "report"]]
    parser = ArgumentParser(exit_on_error=False)
    train.add_arguments(parser)
    assert parser.parse_args(train.expand(log[1][2:])).epochs == 3
    assert log[0][-4:] == ["--out", "results/benchmarks/throughput-compiled.json", "--compile", "true"]
