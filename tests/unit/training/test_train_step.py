"""One step of training, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import failing

NETWORK = """
from torch import nn

class Pooled(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 10))
"""


def test_a_last_batch_of_one_image_names_the_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets_of_step.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    assert 1200 % 109 == 1, "of the digits that are trained on"
    options = ["--epochs", "1", "--validation.examples", "5", "--model", "nets_of_step.Pooled", "--batch_size", "109"]
    line = failing(capsys, "train", "digits-plain", *options, "--out", str(tmp_path / "run"))
    assert "batch_size: BatchNorm cannot train on a single value a channel" in line
    assert "another than 109" in line
