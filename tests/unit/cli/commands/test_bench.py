"""The command that times attacks on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import failing

from logitpair.benchmark import attack_speed, contenders
from logitpair.benchmark.attack_speed import Case
from logitpair.cli.commands import bench
from logitpair.cli.main import main


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "ten"], "--steps: 'ten' is not accepted; accepted: whole numbers above 0 with commas, such as 10,40"),
        (["--steps", "10,0"], "--steps: '10,0' is not accepted"),
        (["--network", "vgg"], "--network: 'vgg' is not accepted; accepted: lenet, resnet18, resnet50, all"),
        (["--repeats", "0"], "--repeats must be at least 1, not 0"),
        (["--batch-size", "0"], "--batch-size must be at least 1, not 0"),
    ],
)
def test_bad_options(capsys: pytest.CaptureFixture[str], options: list[str], said: str) -> None:
    assert said in failing(capsys, "bench", *options)


def test_a_table_a_record_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    peers = {
        "torchattacks": contenders.PEERS["torchattacks"],
        "nothing": ("nothing_of_this_name", contenders.PEERS["foolbox"][1]),
        "pytest": ("pytest", lambda _library, _batch: _raise),
    }
    for module in (contenders, attack_speed):
        monkeypatch.setattr(module, "PEERS", peers)
    options = ["--steps", "1,2", "--repeats", "2", "--batch-size", "4", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["bench", *options]) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "bench.json").read_text())
    assert [(case["network"], case["steps"]) for case in record["cases"]] == [
        ("LeNet", 1),
        ("LeNet", 2),
        ("ResNet-18", 1),
        ("ResNet-18", 2),
    ]
    for case in record["cases"]:
        assert case["batch_size"] == 4
        assert list(case["seconds"])[:3] == ["network alone", "network alone, channels_last", "logitpair"]
        assert "torchattacks" in case["seconds"]
        assert all(len(times) == 2 for times in case["seconds"].values())
    assert "left out: nothing" in printed
    assert "pytest cannot attack here and is left out: two devices" in printed
    assert record["failed"] == {"pytest": "two devices"}
    assert printed.count("torchattacks") == 4
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def _raise() -> None:
    raise RuntimeError("two devices\nat least")


def test_the_options_name_the_networks_that_there_are() -> None:
    assert tuple(attack_speed.NETWORKS) == bench.NETWORKS


def test_the_fastest_comes_first_by_its_median() -> None:
    case = Case("LeNet", 10, 50, {"network alone": [1.0, 2.0, 9.0], "logitpair": [3.0, 1.0, 1.0]})
    assert case.rows() == [
        ["LeNet", "10", "50", "logitpair", "1", "1 - 3", "50", "0.50"],
        ["LeNet", "10", "50", "network alone", "2", "1 - 9", "25", "1.00"],
    ]
