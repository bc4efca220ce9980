"""Activation checkpointing: exactly the same training, with less kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.training.activation_checkpointing import checkpoint_activations, stages


class Block(nn.Module):
    """A residual block with BatchNorm and dropout; counts its forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop, self.runs = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return x + self.drop(self.norm(self.conv(x)).relu())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Sequential(Block(), Block()), Block()
        self.logits = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.last(self.layer(self.stem(x))).mean((2, 3)))


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = lp.models.Normalized(Residual(), mean=[0.5], std=[0.5])
    checkpointed = copy.deepcopy(model)
    checkpoint_activations(checkpointed)
    return model, checkpointed


def batch() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.rand(6, 1, 8, 8, generator=source), torch.randint(10, (6,), generator=source)


def test_the_stages_are_the_blocks() -> None:
    model = Residual()
    assert list(stages(model)) == [*model.layer, model.last]
    assert list(stages(nn.Sequential(model))) == [*model.layer, model.last]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_training_is_the_same_to_the_last_bit(momentum: float | None) -> None:
    found = []
    for model in pair():
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = momentum
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        attack = lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=2)
        for step in range(3):
            torch.manual_seed(step)
            optimizer.zero_grad()
            objective = lp.objectives.AdversarialLogitPairing(attack)
            objective(model.train(), *batch(), generator=torch.Generator().manual_seed(step)).total.backward()
            optimizer.step()
        found.append(model.state_dict())
    plain, checkpointed = found
    assert plain.keys() == checkpointed.keys()
    for name, value in plain.items():
        assert torch.equal(checkpointed[name], value), name


def test_stages_run_again_in_the_backward_pass_only() -> None:
    _, model = pair()
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    with torch.no_grad():
        model(batch()[0])
    assert [block.runs for block in blocks] == [1, 1, 1]
    loss = model(batch()[0]).sum()
    assert [block.runs for block in blocks] == [2, 2, 2]
    loss.backward()
    assert [block.runs for block in blocks] == [3, 3, 3]


def test_less_is_kept() -> None:
    kept = []
    for model in pair():
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            model(batch()[0])
        kept.append(sum(sizes))
    assert kept[1] < 0.6 * kept[0]


def test_a_network_without_stages_is_refused() -> None:
    with pytest.raises(InputError, match="activation_checkpointing: the network has no stages"):
        checkpoint_activations(lp.models.SmallConvNet())
