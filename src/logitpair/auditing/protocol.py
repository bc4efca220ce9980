"""What stands beside the search: the protocol's own number, and the checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from logitpair.attacks import PGD, Attack
from logitpair.attacks.base import QueryCounter
from logitpair.auditing.audit_ledger import STANDS, AuditLedger
from logitpair.auditing.checks.attack_checks import Looked, attack_checks
from logitpair.auditing.checks.finding import Finding
from logitpair.auditing.checks.model_checks import model_checks
from logitpair.auditing.checks.sample import Sample
from logitpair.auditing.scheduler import Stop
from logitpair.auditing.search import AuditContext, Search, over
from logitpair.data import batches, select
from logitpair.evaluation.confidence import accuracy
from logitpair.rng import derive_seed
from logitpair.storage.class_path import describe

SAMPLE = 64  # images that the checks look at
PROTOCOL_EXAMPLES = 300  # images that the protocol is tried on where its number is not given
EIGHT_BIT = 0.02  # of the examples: more are broken only by values between two of 8 bits
PROTOCOL_STAGE = 999  # in the place of a round's number


def judge(
    quarry: AuditContext, book: AuditLedger, protocol: Attack, claim: Mapping[str, Any] | None, seed: int, number: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The accuracy under the protocol, and what the audit left of the same examples, less what the protocol broke (as round ``number``)."""
    known = {"parameters": describe(protocol), "measured": claim is None}
    if claim is not None:
        return {**claim, **known}, accuracy(book.columns["broken_by"] == STANDS)
    correct = book.columns["clean/prediction"] == book.columns["y"]
    chosen = np.flatnonzero(correct[:PROTOCOL_EXAMPLES])
    stands, gradients = correct[:PROTOCOL_EXAMPLES].copy(), 0.0
    if len(chosen):
        work = Search(quarry, protocol, quarry.model, derive_seed(seed, "protocol"))
        for part in over(quarry, PROTOCOL_STAGE, chosen, work, "protocol"):
            stands[part["position"][part["broken"]]] = False
            gradients += float(part["gradients"].sum())
            book.note(number, part)
    left = book.columns["broken_by"][: len(stands)] == STANDS
    return {**accuracy(stands), **known, "gradient_evaluations_per_example": gradients / len(stands)}, accuracy(left)


def examine(
    quarry: AuditContext, book: AuditLedger, protocol: PGD, sources: Mapping[str, nn.Module], seed: int
) -> tuple[list[Finding], Looked | None, tuple[int, int]]:
    """Every finding about the network and the protocol's attack, and the gradients and forward passes spent on them."""
    counted = QueryCounter(quarry.model)
    others = {name: QueryCounter(source) for name, source in sources.items()}
    correct = np.flatnonzero(book.columns["broken_by"] >= STANDS)
    findings = list(model_checks(_sample(quarry, counted, np.arange(min(SAMPLE, len(book.columns["y"]))), seed)))
    looked = attack_checks(_sample(quarry, counted, correct[:SAMPLE], seed), protocol, others) if len(correct) else None
    networks = [counted, *others.values()]
    spent = sum(network.gradients for network in networks), sum(network.forwards for network in networks)
    return findings + list(looked.findings if looked else ()), looked, spent


def _sample(quarry: AuditContext, model: nn.Module, positions: np.ndarray, seed: int) -> Sample:
    x, y = next(iter(batches(select(quarry.data, positions.tolist()), len(positions), quarry.device)))
    return Sample(model, x, y, derive_seed(seed, "checks"))


def settled(stop: Stop) -> Finding:
    return Finding(
        "settled",
        stop.settled,
        f"the search ended because {stop.reason}",
        "The search was still finding: the accuracy is an upper bound that would go on falling. Give a larger budget.",
        {"settled": float(stop.settled)},
        1.0,
    )


def eight_bit(book: AuditLedger) -> Finding:
    saved = float(((book.columns["broken_by"] != STANDS) & ~book.columns["broken_8_bit"]).mean())
    return Finding(
        "eight_bit",
        saved <= EIGHT_BIT,
        f"{saved:.1%} of the images are broken only by values that a picture file cannot hold (at most {EIGHT_BIT:.0%})",
        "Stated for pictures of 8 bits the accuracy is robust_accuracy_8_bit; the threat model as given allows every value.",
        {"share": saved},
        EIGHT_BIT,
    )
