"""Lines of metrics: means over the steps that measured a number, and speed over the time of steps alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from logitpair.config import parsing, recipes
from logitpair.runtime.distributed import World
from logitpair.training import train as module
from logitpair.training.metrics import Window

WORLD = World(0, 1, torch.device("cpu"))


def test_a_number_that_some_steps_measured_is_averaged_over_those() -> None:
    window = Window()
    for measures in ({"loss": 1.0, "tightness": 0.5}, {"loss": 2.0, "tightness": 0.7}, {"loss": 3.0}, {"loss": 4.0}):
        window.add({name: torch.tensor(value) for name, value in measures.items()}, 8)
    line = window.close(WORLD)
    assert line["loss"] == pytest.approx(2.5)
    assert line["tightness"] == pytest.approx(0.6)
    window.add({"loss": torch.tensor(7.0)}, 8)
    line = window.close(WORLD)
    assert line.keys() == {"loss", "images_per_second"}
    assert line["loss"] == 7


def test_images_a_second_are_those_of_steps_and_not_of_validations_and_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["--epochs=0.2", "--batch_size=64", "--model.width=4", "--validation.every=0.1"]
    config = parsing.resolve(recipes.load("digits-plain").run, settings).config

    def slow(function: Any) -> Any:
        def after_a_while(*arguments: Any, **options: Any) -> Any:
            time.sleep(1)
            return function(*arguments, **options)

        return after_a_while

    monkeypatch.setattr(module, "validate", slow(lambda *_: {"validation_clean": 0.5, "validation_white_box": 0.5}))
    monkeypatch.setattr(module.Checkpoints, "save", slow(module.Checkpoints.save))
    module.train(config, tmp_path, device=torch.device("cpu"), quiet=True)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert sum(2 * 64 / line["images_per_second"] for line in lines) < 1, "seconds"
