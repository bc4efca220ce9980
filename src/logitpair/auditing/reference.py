"""The reference attack: the one whose number is judged."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from logitpair.attacks import PGD
from logitpair.auditing.audit_ledger import AuditLedger
from logitpair.auditing.search import AuditContext
from logitpair.errors import InputError
from logitpair.evaluation.confidence import accuracy
from logitpair.evaluation.evaluate import check_mapping
from logitpair.rng import derive_seed
from logitpair.storage.class_path import describe
from logitpair.storage.ledger import POSITION, column
from logitpair.storage.results import Accuracy, ReferenceAccuracy
from logitpair.threat import Threat
from logitpair.validate import type_name

EXAMPLES = 300  # measured on so many, drawn at random, where no number is reported
STAGE = 999  # in the place of a round's number


def reference_attack(threat: Threat) -> PGD:
    """PGD with 40 steps of a thirtieth of eps from a random point: the paper's attack on MNIST, whatever the radius."""
    return PGD(threat, step_size=threat.eps / 30, steps=40)


def check_reference(attack: object, threat: Threat) -> PGD:
    """The attack, or the default; refused where it is no PGD, targeted or in another threat model."""
    attack = reference_attack(threat) if attack is None else attack
    if not isinstance(attack, PGD):
        raise InputError(f"reference_attack: is {type_name(attack)}; accepted: an untargeted PGD")
    if attack.target is not None:
        raise InputError("reference_attack: is targeted; accepted: an untargeted PGD")
    if attack.threat != threat:
        raise InputError(f"reference_attack: attacks in {attack.threat}, the audit in {threat}; accepted: the same threat model")
    return attack


def parse_reported(reported: Mapping[str, Any], attack: PGD, examples: int) -> ReferenceAccuracy:
    """What an evaluation of the same examples reported of the attack, typed."""
    check_mapping("reported_accuracy", reported, "results, as `results['attacks'][name]` of an evaluation")
    try:
        found = msgspec.convert({**reported, "parameters": describe(attack), "measured": False}, ReferenceAccuracy)
    except msgspec.ValidationError as error:
        needed = "must hold top1, correct, total and ci95, as `results['attacks'][name]` of an evaluation does"
        raise InputError(f"reported_accuracy: {needed}: {error}") from error
    if found.total != examples:
        raise InputError(
            f"reported_accuracy: is of {found.total:,} images, and data holds {examples:,}; accepted: an accuracy of the same images"
        )
    return found


def check_certified(reference: ReferenceAccuracy, ledger: AuditLedger) -> None:
    """Refuse a number of all images that is below what is certified of them."""
    certified = int(ledger.certified.sum())
    if reference.total == len(ledger.certified) and reference.correct < certified:
        raise InputError(
            f"certificate: {certified:,} images are certified, and the reference attack left {reference.correct:,}; "
            "the certificate is wrong, or the attack's number of another network"
        )


def measure(context: AuditContext, ledger: AuditLedger, attack: PGD, number: int) -> tuple[ReferenceAccuracy, Accuracy]:
    """The accuracy under the attack and what the audit left of the same images, less what the attack broke, recorded as a round."""
    sample = context.sample(np.full(len(ledger.clean_correct), True), EXAMPLES, "reference examples")
    correct, gradients = ledger.clean_correct.copy(), 0.0
    if len(attacked := sample[correct[sample]]):
        seed = derive_seed(context.seed, "protocol")  # the word is part of the random stream
        chunks = context.search(STAGE, attacked, attack, context.model, seed, "reference attack")
        correct[column(chunks, POSITION)] = ~column(chunks, "broken")
        gradients = float(column(chunks, "gradients").sum()) / len(sample)
        ledger.add_broken(number, chunks)
    parameters, measured = describe(attack), accuracy(correct[sample])
    reference = ReferenceAccuracy(**measured, parameters=parameters, measured=True, gradient_evaluations_per_example=gradients)
    return reference, Accuracy(**accuracy(ledger.still_correct[sample]))
