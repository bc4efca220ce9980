"""Run by two processes: each objective's gradient through DistributedDataParallel, written beside each process' own."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parents[1]))

from objective_examples import EXAMPLES

import logitpair as lp
from logitpair.objectives import Objective


def network() -> nn.Module:
    """The same weights in every process; the first layer is frozen, as in fine-tuning."""
    torch.manual_seed(0)
    model = lp.models.SmallConvNet(width=4).double()
    model.conv1.requires_grad_(False)
    return model


def batch(rank: int) -> tuple[Tensor, Tensor]:
    """A process' part of the global batch: seven images each, so that pairs leave one over."""
    source = torch.Generator().manual_seed(rank)
    return torch.rand(7, 1, 8, 8, generator=source, dtype=torch.float64), torch.randint(10, (7,), generator=source)


def gradients(objective: Objective, model: nn.Module, rank: int) -> list[Tensor]:
    """What backward leaves on the parameters."""
    model.zero_grad()
    objective(model, *batch(rank), generator=torch.Generator().manual_seed(100 + rank)).total.backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


if __name__ == "__main__":
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found = {}
    for name, objective in [(f"{kind} {variant}", example) for kind, variants in EXAMPLES.items() for variant, example in variants.items()]:
        found[name] = {
            "together": gradients(objective, DistributedDataParallel(network()), rank),
            "alone": gradients(objective, network(), rank),
        }
    torch.save(found, Path(sys.argv[1]) / f"{rank}.pt")
    dist.destroy_process_group()
