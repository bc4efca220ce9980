"""Run by two processes: each objective's gradient through DistributedDataParallel, written beside each process' own."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import logitpair as lp
from logitpair.objectives import Objective

ATTACK = lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=2)


def objectives() -> dict[str, Objective]:
    """One of each defense that trains on pairs, noise, mixtures or other networks' images."""
    torch.manual_seed(5)
    source = lp.models.SmallConvNet(width=2).eval()
    return {
        "alp": lp.objectives.AdversarialLogitPairing(ATTACK),
        "clp": lp.objectives.CleanLogitPairing(),
        "squeezing": lp.objectives.LogitSqueezing(),
        "mixup": lp.objectives.Mixup(),
        "vat": lp.objectives.VirtualAdversarialTraining(eps=0.1),
        "trades": lp.objectives.TRADES(ATTACK),
        "mart": lp.objectives.MART(ATTACK),
        "one_step": lp.objectives.OneStepAdversarialTraining(lp.Linf(0.1)),
        "ensemble": lp.objectives.EnsembleAdversarialTraining(ATTACK, sources=(source,)),
        "features": lp.objectives.FeaturePairing(ATTACK, layers=("hidden",)),
    }


def network() -> nn.Module:
    """The same weights in every process."""
    torch.manual_seed(0)
    return lp.models.SmallConvNet(width=4).double()


def batch(rank: int) -> tuple[Tensor, Tensor]:
    """A process' part of the global batch: eight images each."""
    source = torch.Generator().manual_seed(rank)
    return torch.rand(8, 1, 8, 8, generator=source, dtype=torch.float64), torch.randint(10, (8,), generator=source)


def gradients(objective: Objective, model: nn.Module, rank: int) -> list[Tensor]:
    """What backward leaves on the parameters."""
    model.zero_grad()
    objective(model, *batch(rank), generator=torch.Generator().manual_seed(100 + rank)).total.backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


if __name__ == "__main__":
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found = {}
    for name, objective in objectives().items():
        found[name] = {
            "together": gradients(objective, DistributedDataParallel(network()), rank),
            "alone": gradients(objective, network(), rank),
        }
    torch.save(found, Path(sys.argv[1]) / f"{rank}.pt")
    dist.destroy_process_group()
