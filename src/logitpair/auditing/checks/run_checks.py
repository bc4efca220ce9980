"""Every check of an audit: of the network, of the reference attack, of the search."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from logitpair.attacks import PGD
from logitpair.attacks.base import QueryCounter
from logitpair.auditing.audit_ledger import AuditLedger
from logitpair.auditing.checks.attack_checks import attack_checks
from logitpair.auditing.checks.finding import finding
from logitpair.auditing.checks.model_checks import model_checks
from logitpair.auditing.checks.sample import Sample
from logitpair.auditing.checks.strength import strength
from logitpair.auditing.scheduler import Stop
from logitpair.auditing.search import AuditContext
from logitpair.auditing.strategies import strategies_for
from logitpair.rng import derive_seed
from logitpair.storage.ledger import Columns
from logitpair.storage.results import EpsPoint, Finding, Passes

SAMPLE = 64  # images that the checks run on
EIGHT_BIT = 0.02  # fraction of the images that may be broken only by values between two of 8 bits


def run_checks(
    context: AuditContext, ledger: AuditLedger, attack: PGD, sources: Mapping[str, nn.Module], stop: Stop, classes: int
) -> tuple[tuple[Finding, ...], tuple[EpsPoint, ...], Passes, Columns]:
    """Check the network on images drawn at random, attack and search on some that the network gets right, and the search by how it ended.

    Besides the findings: the attack's accuracy against the radius on the sample, what the checks cost, and for the ledger the margins at
    the ends of the attack's restarts; no accuracies and no margins where the network is never right.
    """
    examples, correct = len(ledger.clean_correct), context.sample(ledger.clean_correct, SAMPLE, "correct examples of the checks")
    any_label = context.sample(np.full(examples, True), SAMPLE, "examples of the checks")
    model, others = QueryCounter(context.model), {name: QueryCounter(source) for name, source in sources.items()}

    def sample(positions: np.ndarray) -> Sample:
        return Sample(model, *context.images(positions), derive_seed(context.seed, "checks"))

    surveyed = torch.from_numpy(ledger.columns["clean/margin"][any_label])
    findings, curve, columns = [*model_checks(sample(any_label), surveyed), _finite(ledger)], (), {}
    if len(correct):
        of_attack, curve, ends = attack_checks(sample(correct), attack, others)
        of_search = strength(sample(correct), strategies_for(context.threat, classes, {}), context.threat)
        findings, columns = [*findings, *of_attack, of_search], {"restarts/margin": ends.double().cpu().numpy()}
    networks = (model, *others.values())
    passes = Passes(
        gradient_evaluations_per_example=sum(network.gradients for network in networks) / examples,
        forward_evaluations_per_example=sum(network.forwards for network in networks) / examples,
    )
    return (*findings, _search_converged(stop), _eight_bit(ledger)), curve, passes, columns


def _finite(ledger: AuditLedger) -> Finding:
    clean, broken = (int((~ledger.columns["finite"] & rows).sum()) for rows in (~ledger.clean_correct, ledger.clean_correct))
    examples = len(ledger.clean_correct)
    evidence = f"of {examples:,} images {clean:,} have logits that are not finite, and {broken:,} are broken by such logits (none may)"
    return finding("finite", clean + broken == 0, evidence, 0.0, clean=clean / examples, broken=broken / examples)


def _search_converged(stop: Stop) -> Finding:
    evidence = f"the search ended because {stop.reason}"
    return finding("search_converged", stop.converged, evidence, 1.0, converged=float(stop.converged))


def _eight_bit(ledger: AuditLedger) -> Finding:
    share = float((~ledger.still_correct & ~ledger.columns["broken_8_bit"]).mean())
    evidence = f"{share:.1%} of the images are broken only by values that an image file cannot hold (at most {EIGHT_BIT:.0%})"
    return finding("eight_bit", share <= EIGHT_BIT, evidence, EIGHT_BIT, share=share)
