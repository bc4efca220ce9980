"""One round on all examples that stand, shared between processes, in batches that are full again in every round."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from logitpair.attacks import Attack
from logitpair.data import Data, batches, select
from logitpair.losses import margin
from logitpair.models.inference import compute_logits
from logitpair.rng import ExampleStreams
from logitpair.runtime import distributed
from logitpair.runtime.distributed import World
from logitpair.runtime.precision import autocast
from logitpair.runtime.progress import Progress
from logitpair.storage.ledger import FACTS, Columns, LedgerChunk, PartialLedger
from logitpair.threat import Linf

Work = Callable[[Tensor, Tensor, Tensor], LedgerChunk]
"""``work(x, y, position)``: what is done to a batch."""


@dataclass(frozen=True)
class AuditContext:
    """What is audited, and how the work on it is done.

    Args:
        model: in eval mode, frozen.
        data: whose examples can be chosen by position.
        threat: what is allowed.
        device: where the model is.
        batch_size: examples attacked together.
        workers: processes that load images.
        dtype: the searches run in; whatever they find is tried again in the images' own.
        folder: where the parts of each round are kept until the audit is done; None to keep none.
        request: everything that determines the numbers.
        world: this process's place among those that share the work.
        progress: show progress bars.
    """

    model: nn.Module
    data: Data
    threat: Linf
    device: torch.device
    batch_size: int
    workers: int
    dtype: torch.dtype
    folder: Path | None
    request: str
    world: World
    progress: bool

    def parts(self, stage: int) -> PartialLedger | None:
        """Where the parts of a stage are kept: 0 for the survey, then one for each round."""
        return PartialLedger(self.folder, f"{self.request}-{stage:03d}") if self.folder else None


def over(quarry: AuditContext, stage: int, positions: np.ndarray, work: Work, told: str) -> list[Columns]:
    """The parts that ``work`` makes of these examples, those of an interrupted run being taken as they are.

    Every process comes back with the parts of all. ``told`` is what the progress bar says.
    """
    world, parts = quarry.world, quarry.parts(stage)
    done = parts.done() if parts else np.zeros(0, dtype=np.int64)
    distributed.barrier(world)
    left = torch.from_numpy(np.setdiff1d(positions, done))
    own = [piece for number, piece in enumerate(left.split(quarry.batch_size)) if number % world.size == world.rank]
    position = torch.cat([left[:0], *own])
    chosen = batches(select(quarry.data, position.tolist()), quarry.batch_size, quarry.device, quarry.workers) if len(position) else ()
    made: list[Columns] = []
    start = 0
    with Progress("audit", len(positions), len(positions) - len(left), told, quarry.progress and world.is_main) as bar:
        for x, y in chosen:
            at = position[start : start + len(x)]
            start += len(x)
            began = time.perf_counter()
            part = work(x, y, at)
            if x.is_cuda:
                torch.cuda.synchronize(x.device)
            part.facts["seconds"] = time.perf_counter() - began
            if parts:
                parts.save(part)
            else:
                made.append(part.arrays())
            bar.advance(len(x) * world.size)
    distributed.barrier(world)
    found = parts.read() if parts else made
    distributed.barrier(world)
    return found


@dataclass(frozen=True)
class Search:
    """An attack on the batch, each break verified by a fresh forward of the model in the images' own precision.

    Args:
        quarry: what is attacked.
        attack: how.
        network: what the attack looks at; the model, or one that images are made against.
        seed: of the round.
    """

    quarry: AuditContext
    attack: Attack
    network: nn.Module
    seed: int

    def __call__(self, x: Tensor, y: Tensor, position: Tensor) -> LedgerChunk:
        quarry = self.quarry
        with autocast(quarry.dtype, quarry.device):
            found = self.attack.find(self.network, x, y, generator=ExampleStreams(self.seed, position))
        inside = quarry.threat.contains(found.x_adv, x)
        x_adv = torch.where(inside[:, None, None, None], found.x_adv, x)
        part = LedgerChunk(position)
        logits, rounded = compute_logits(quarry.model, x_adv), compute_logits(quarry.model, quarry.threat.eight_bit(x_adv, x))
        part.add("broken", misclassified(logits, y))
        part.add("broken_8_bit", misclassified(rounded, y))
        part.add("prediction", torch.where(torch.isfinite(logits).all(1), logits.argmax(1), -1))
        part.add("margin", margin(logits, y).double())
        part.add("distance", quarry.threat.distance(x_adv, x).double())
        for name in ("restart", "step", "gradients", "forwards"):
            part.add(name, getattr(found, name))
        part.add_images("x_adv", x_adv)
        return part


def misclassified(logits: Tensor, y: Tensor) -> Tensor:
    """``[batch]``; logits that are no numbers are no answer."""
    return (logits.argmax(1) != y) | ~torch.isfinite(logits).all(1)


def column(parts: list[Columns], name: str) -> np.ndarray:
    """A column of all parts, in the order of the parts."""
    return np.concatenate([part[name] for part in parts])


def seconds(parts: list[Columns]) -> float:
    """Spent on all parts by all processes."""
    return float(sum(float(part[FACTS + "seconds"]) for part in parts))
