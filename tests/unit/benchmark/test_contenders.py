"""What is timed does the work that it is compared by: every step on every image."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from logitpair.benchmark import attack_speed, contenders as module
from logitpair.benchmark.contenders import ALONE, EPS, PEERS, STEP_SIZE, Batch, contenders, installed

STEPS = 5


class Counting(nn.Module):
    """A linear network; counts images over all copies of it."""

    passes: list[int] = []  # noqa: RUF012  (copies share it)
    dtypes: set[torch.dtype] = set()  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.passes.append(len(x))
        logits = self.layer(x.flatten(1))
        self.dtypes.add(logits.dtype)
        return logits


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    Counting.passes.clear()
    return Batch(Counting().eval(), torch.rand(4, 3, 2, 2), torch.arange(4) % 3, STEPS)


@pytest.fixture(params=[torch.float32, torch.bfloat16])
def quickest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """What the hardware is quickest in."""
    monkeypatch.setattr(module.precision, "resolve", lambda *_: request.param)
    return request.param


def test_all_take_every_step_on_every_image(batch: Batch, quickest: torch.dtype) -> None:
    runs = contenders(batch, libraries := installed())
    assert {name for name in runs if name in PEERS} == set(libraries)
    assert len(runs) > 5, "no other library is here"
    assert ("logitpair, channels_last, bfloat16" in runs) == (quickest == torch.bfloat16)
    for name, run in runs.items():
        Counting.passes.clear()
        Counting.dtypes.clear()
        x_adv = run()
        assert Counting.dtypes == {torch.bfloat16 if "bfloat16" in name else torch.float32}, name
        assert STEPS <= len(Counting.passes) <= STEPS + (2 if name in PEERS else 0), name  # a library may look at what came of it
        assert set(Counting.passes) == {4}, name
        if name.startswith(ALONE):
            continue
        assert isinstance(x_adv, Tensor), name
        moved = (x_adv - batch.x).abs()
        assert moved.max() <= EPS + 1e-6, name
        assert moved.max() > STEPS * STEP_SIZE, f"{name} began at the images"
    assert all(parameter.requires_grad for parameter in batch.model.parameters())


def test_a_library_whose_attack_cannot_be_made_is_left_out_and_its_reason_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PEERS", {"pytest": ("pytest", Mock(side_effect=TypeError("no argument 'steps'\nwas expected")))})
    monkeypatch.setattr(attack_speed, "PEERS", module.PEERS)
    network = attack_speed.Network("LeNet", (1, 28, 28), 2)
    measured = attack_speed.measure_attacks([network], [1], batch_size=2, repeats=1, device=torch.device("cpu"))
    assert measured.failed == measured.record["failed"] == {"pytest": "no argument 'steps'"}
    assert measured.absent == []
    assert "pytest" not in measured.cases[0].seconds


@pytest.mark.usefixtures("quickest")
def test_a_library_that_cannot_be_imported_is_left_out_of_every_case(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only of the first: what it imported before it failed is there when it is tried again."""
    monkeypatch.setattr(module, "PEERS", {"nothing": ("nothing_of_this_name", PEERS["foolbox"][1])})
    monkeypatch.setattr(attack_speed, "PEERS", module.PEERS)
    tried = Mock(side_effect=[AttributeError, SimpleNamespace()])
    monkeypatch.setattr(module, "importlib", SimpleNamespace(import_module=tried))
    networks = [attack_speed.Network("LeNet", (1, 28, 28), 2)] * 2
    measured = attack_speed.measure_attacks(networks, [1], batch_size=2, repeats=1, device=torch.device("cpu"))
    assert measured.absent == measured.record["absent"] == ["nothing"]
    assert {tuple(case.seconds) for case in measured.cases} == {tuple(contenders(batch, {}))}
    assert len(measured.cases) == 2
    assert tried.call_count == 1
