"""Every check of an audit: of the network, of the reference attack, of the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from logitpair.attacks import PGD
from logitpair.attacks.base import QueryCounter
from logitpair.auditing.audit_ledger import AuditLedger
from logitpair.auditing.checks.attack_checks import attack_checks
from logitpair.auditing.checks.finding import finding
from logitpair.auditing.checks.model_checks import model_checks
from logitpair.auditing.checks.sample import Sample
from logitpair.auditing.scheduler import Stop
from logitpair.auditing.search import AuditContext
from logitpair.rng import derive_seed
from logitpair.storage.ledger import Columns
from logitpair.storage.results import EpsPoint, Finding, Passes

SAMPLE = 64  # images that the checks run on
EIGHT_BIT = 0.02  # fraction of the images that may be broken only by values between two of 8 bits


@dataclass(frozen=True)
class Checks:
    """What all checks came to."""

    findings: tuple[Finding, ...]
    eps_curve: tuple[EpsPoint, ...]  # of the reference attack on the sample; empty where the network is never right
    columns: Columns  # for the ledger: the margins at the ends of the reference attack's restarts
    passes: Passes  # spent on them, per image of the data


def run_checks(context: AuditContext, ledger: AuditLedger, attack: PGD, sources: Mapping[str, nn.Module], stop: Stop) -> Checks:
    """Check the network on the first images, the attack on the first that the network gets right, and the search by how it ended."""
    examples, correct = len(ledger.clean_correct), np.flatnonzero(ledger.clean_correct)[:SAMPLE]
    model, others = QueryCounter(context.model), {name: QueryCounter(source) for name, source in sources.items()}

    def sample(positions: np.ndarray) -> Sample:
        return Sample(model, *context.images(positions), derive_seed(context.seed, "checks"))

    findings, curve, columns = [*model_checks(sample(np.arange(min(SAMPLE, examples))))], (), {}
    if len(correct):
        of_attack, curve, ends = attack_checks(sample(correct), attack, others)
        findings, columns = findings + of_attack, {"restarts/margin": ends.double().cpu().numpy()}
    passes = Passes(
        gradient_evaluations_per_example=sum(network.gradients for network in (model, *others.values())) / examples,
        forward_evaluations_per_example=sum(network.forwards for network in (model, *others.values())) / examples,
    )
    return Checks((*findings, _search_converged(stop), _eight_bit(ledger)), curve, columns, passes)


def _search_converged(stop: Stop) -> Finding:
    evidence = f"the search ended because {stop.reason}"
    return finding("search_converged", stop.converged, evidence, 1.0, converged=float(stop.converged))


def _eight_bit(ledger: AuditLedger) -> Finding:
    share = float((~ledger.still_correct & ~ledger.columns["broken_8_bit"]).mean())
    evidence = f"{share:.1%} of the images are broken only by values that an image file cannot hold (at most {EIGHT_BIT:.0%})"
    return finding("eight_bit", share <= EIGHT_BIT, evidence, EIGHT_BIT, share=share)
