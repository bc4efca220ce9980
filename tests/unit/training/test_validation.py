"""What validation says when robust accuracy collapses."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from logitpair.config import recipes
from logitpair.config.parsing import resolve
from logitpair.runtime.distributed import ALONE
from logitpair.training import validation
from logitpair.training.train_state import initial_state


@pytest.mark.parametrize(("recipe", "attacks"), [("digits-onestep", True), ("digits-plain", False)])
def test_catastrophic_overfitting_is_warned_of_where_training_attacks_and_the_best_is_kept(
    recipe: str, attacks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = resolve(recipes.load(recipe).at_scale("smoke"), []).config
    state = initial_state(config, torch.device("cpu"), resuming=False)
    found: dict[str, Any] = {"clean": {"top1": 0.9}}

    def evaluate(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(results=found)

    monkeypatch.setattr(validation, "evaluate", evaluate)
    said: list[bool] = []
    with caplog.at_level(logging.WARNING, "logitpair"):
        for accuracy in (0.0, 0.4, 0.6, 0.31, 0.29):
            caplog.clear()
            found["white_box"] = {"top1": accuracy}
            validation.validate(state, [0], config, tmp_path, ALONE)
            said.append("29.0% of the held-out images" in caplog.text and "after 60.0% before" in caplog.text)
            assert bool(caplog.text) == said[-1]
    assert said == [False, False, False, False, attacks]
    assert state.best == 0.6
