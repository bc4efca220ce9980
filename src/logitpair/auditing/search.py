"""The search: what is audited, and one round after another on the examples that are still correct."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from logitpair.attacks import Attack
from logitpair.auditing.audit_ledger import AuditLedger
from logitpair.auditing.convergence import Round
from logitpair.auditing.scheduler import Stop, next_round
from logitpair.auditing.strategies import FORWARD, SearchStrategy
from logitpair.data import Data, batches, select
from logitpair.evaluation.attack_run import or_unperturbed
from logitpair.evaluation.network_checks import check_networks
from logitpair.evaluation.resumable import Chunk, Execution, Work, resumable_map
from logitpair.losses import margin
from logitpair.models.inference import compute_logits, logits_in_eval, predict
from logitpair.rng import ExampleStreams, derive_seed, draw_sample
from logitpair.runtime import distributed
from logitpair.runtime.precision import autocast
from logitpair.storage.ledger import FACTS, POSITION, Columns, PartialLedger, column, gallery, total
from logitpair.storage.results import SearchRound
from logitpair.threat import Threat
from logitpair.validate import check_batch, check_labels


@dataclass(frozen=True, kw_only=True)
class AuditContext:
    """What is audited, and how the work on it is done."""

    model: nn.Module  # in eval mode, frozen
    data: Data  # whose examples can be chosen by position
    threat: Threat
    seed: int
    dtype: torch.dtype  # the searches run in; what they find is verified in the images' own
    folder: Path | None  # where the chunks of each round are kept until the audit is done
    cache_key: str  # a hash of everything that determines the numbers
    how: Execution

    def map(self, stage: int, positions: np.ndarray, work: Work, note: str) -> list[Columns]:
        """The chunks that ``work`` makes of these examples; those that an interrupted audit kept of the stage are taken as they are."""
        partial = PartialLedger(self.folder, f"{self.cache_key}-{stage:03d}") if self.folder else None
        return resumable_map(work, self.data, "audit", self.how, note=note, positions=positions, partial=partial)

    def search(self, stage: int, positions: np.ndarray, attack: Attack, network: nn.Module, seed: int, note: str) -> list[Columns]:
        """Attack these examples on ``network``; every image is verified by a fresh forward pass of the model in its own precision."""
        model, threat = self.model, self.threat

        def work(x: Tensor, y: Tensor, position: Tensor) -> Chunk:
            with autocast(self.dtype, self.how.device):
                found = attack.find_unchecked(network, x, y, ExampleStreams(seed, position))
            x_adv = or_unperturbed(found.x_adv, x, threat)
            rounded = or_unperturbed(threat.eight_bit(x_adv, x), x, threat)
            logits, of_rounded = logits_in_eval(model, x_adv), logits_in_eval(model, rounded)
            broken_8_bit = predict(of_rounded) != y
            only_rounded = broken_8_bit & (predict(logits) == y)  # which is in the ball too, so that the image is broken
            x_adv = torch.where(only_rounded[:, None, None, None], rounded, x_adv)
            logits = torch.where(only_rounded[:, None], of_rounded, logits)
            return {
                "broken": predict(logits) != y,
                "broken_8_bit": broken_8_bit,
                "prediction": predict(logits),
                "finite": torch.isfinite(logits).all(1),
                "margin": margin(logits, y).double(),
                "distance": threat.distance(x_adv, x).double(),
                **{name: getattr(found, name) for name in ("restart", "step", "gradients", "forwards")},
                "gallery/x_adv": gallery(x_adv, position),
            }

        return self.map(stage, positions, work, note)

    def sample(self, rows: np.ndarray, number: int, purpose: str) -> np.ndarray:
        """Positions of so many of the examples that the mask ``rows`` chooses, drawn at random, ascending; of all where they are fewer."""
        return draw_sample(np.flatnonzero(rows), number, self.seed, purpose)

    def images(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """These examples as one batch ``(x, y)``."""
        return next(iter(batches(select(self.data, positions.tolist()), len(positions), self.how.device)))


def survey(
    context: AuditContext, examples: int, certified: NDArray[np.bool_] | None, sources: Mapping[str, nn.Module]
) -> tuple[AuditLedger, int]:
    """A ledger with the clean predictions of all examples, of which some are ``certified``, and the number of classes.

    A model or a source for other images, and a source of other classes, raise ``InputError``.
    """

    is_first = True

    def clean(x: Tensor, y: Tensor, position: Tensor) -> Chunk:
        nonlocal is_first
        check_batch(x, y)
        if is_first:
            check_networks(context.model, sources, x)
        is_first = False
        logits = compute_logits(context.model, x)
        check_labels(y, logits.shape[1])
        columns = {"y": y, "prediction": predict(logits), "margin": margin(logits, y).double(), "gallery/x": gallery(x, position)}
        return columns | {"finite": torch.isfinite(logits).all(1), f"{FACTS}classes": logits.shape[1]}

    chunks = context.map(0, np.arange(examples), clean, "clean")
    return AuditLedger(chunks, certified), int(chunks[0][f"{FACTS}classes"])


def search_rounds(
    context: AuditContext, ledger: AuditLedger, strategies: Sequence[SearchStrategy], budget: float, minutes: float | None
) -> tuple[tuple[SearchRound, ...], Stop]:
    """Round after round on what is neither broken nor certified, until the scheduler stops or the minutes are over."""
    rounds: list[Round] = []
    examples, began = len(ledger.still_correct), time.monotonic()
    while True:
        over = minutes is not None and time.monotonic() - began > 60 * minutes
        late = f"the {minutes:g} minutes are over" if distributed.any_process(over, context.how.world) else None
        left, number = int(ledger.searchable.sum()), len(rounds)
        step = next_round(strategies, rounds, examples, left, budget, late)
        if isinstance(step, Stop):
            return tuple(done.record for done in rounds), step
        strategy, attacked = step.strategy, ledger.nearest(step.strategy.name, step.batch)
        attack, network = strategy.attack(step.repetition), strategy.source or context.model
        note = f"{strategy.name}, {left:,} still correct"
        chunks = context.search(number + 1, attacked, attack, network, derive_seed(context.seed, number), note)
        rank = ledger.ranks(column(chunks, POSITION))
        ledger.add(number, strategy.name, attacked, chunks)
        record = SearchRound(
            strategy=strategy.name,
            repetition=step.repetition,
            attacked=len(attacked),
            broken=int(column(chunks, "broken").sum()),
            still_correct=int(ledger.still_correct.sum()),
            certified=int(ledger.certified.sum()),
            gradients_per_example=float(ledger.columns["gradients"].mean()),
            forwards_per_example=float(ledger.columns["forwards"].mean()),
            seconds=round(total(chunks, "seconds"), 3),
        )
        cost = float(column(chunks, "gradients").sum()) + FORWARD * float(column(chunks, "forwards").sum())
        rounds.append(Round(record, cost, rank, column(chunks, "broken")))
