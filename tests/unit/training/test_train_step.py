"""One step of training, and what it refuses."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import pytest
import torch
from command_line import failing
from torch import nn

from logitpair import InputError
from logitpair.config import parsing, recipes
from logitpair.runtime.distributed import ALONE
from logitpair.training.local_batches import LocalBatch
from logitpair.training.process_team import ProcessTeam
from logitpair.training.train_state import TrainState
from logitpair.training.train_step import backward, check_one_image

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
    assert not (tmp_path / "run" / "metrics.jsonl").exists(), "it is known before the first step"


@pytest.mark.parametrize(("recipe", "refused"), [("digits-plain", True), ("digits-clp", True), ("digits-trades", False)])
def test_one_image_is_refused_where_the_objective_leaves_it_alone(recipe: str, refused: bool) -> None:
    config = parsing.resolve(recipes.load(recipe).run, ["--batch_size", "109"]).config
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(1, 10))
    x, y = torch.rand(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(InputError, match="^batch_size: BatchNorm") if refused else contextlib.nullcontext():
        check_one_image(config, model, x, y)
    assert model[1].num_batches_tracked == 0  # type: ignore[union-attr]


def test_statistics_of_micro_batches_are_averaged_as_those_of_processes(no_shape_checks: None) -> None:
    config = parsing.resolve(recipes.load("digits-plain").run, ["--batch_size", "18", "--accumulate", "4", "--precision", "float32"]).config
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 10))
    x, y = torch.rand(18, 1, 8, 8), torch.arange(18) % 10
    model.register_buffer("turns", torch.polar(torch.ones(3), torch.rand(3)))
    model.register_buffer("constant", torch.tensor([0.1307, 0.3]))
    turns, constant = model.turns.clone(), model.constant.clone()  # type: ignore[operator]
    alone = [copy.deepcopy(model) for _ in range(4)]
    for number, network in enumerate(alone):
        network(x[number::4])
    state = TrainState(model, torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", enabled=False), None)
    backward(config, state, model, LocalBatch(x, y, torch.arange(18), 18), 0.0, ProcessTeam(ALONE, state))
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            expected = torch.stack([dict(network.named_buffers())[name] for network in alone]).double().mean(0)
            torch.testing.assert_close(buffer.double(), expected, rtol=1e-6, atol=0, msg=name)
    assert torch.equal(model.turns, turns), "complex numbers"  # type: ignore[arg-type]
    assert torch.equal(model.constant, constant), "to the last bit"  # type: ignore[arg-type]
    assert model[1].num_batches_tracked == 1  # type: ignore[union-attr]
