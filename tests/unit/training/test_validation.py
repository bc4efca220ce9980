"""What validation finds, of the weights that training goes on with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from logitpair.config import recipes
from logitpair.config.parsing import resolve
from logitpair.runtime.distributed import ALONE
from logitpair.training import validation
from logitpair.training.train_state import TrainState, initial_state


def test_the_best_is_kept_and_weights_that_are_gone_back_to_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve(recipes.load("digits-alp").at_scale("smoke"), []).config
    state = initial_state(config, torch.device("cpu"), resuming=False)
    accuracies = iter([0.0, 0.6, 0.4, 0.1, 0.6])

    def evaluate(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(results={"clean": {"top1": 0.9}, "white_box": {"top1": next(accuracies)}})

    def recover(_: TrainState, white_box: float, *__: Any) -> int | None:
        return 7 if white_box == 0.1 else None

    monkeypatch.setattr(validation, "evaluate", evaluate)
    monkeypatch.setattr(validation, "recover", recover)
    found = [validation.validate(state, [0], config, tmp_path, ALONE) for _ in range(4)]
    assert [line["validation_white_box"] for line in found] == [0.0, 0.6, 0.4, 0.6]
    assert found[3] == {"validation_clean": 0.9, "validation_white_box": 0.6, "validation_collapsed": 0.1, "validation_back_to_step": 7}
    assert found[2].keys() == {"validation_clean", "validation_white_box"}
    assert state.best == 0.6
