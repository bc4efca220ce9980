"""The audit: how robust a model really is, found with few gradients, and whether the number of a reference attack can be believed."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from logitpair.attacks import PGD
from logitpair.attacks.activation_search import relu_graph
from logitpair.auditing.checks.run_checks import run_checks
from logitpair.auditing.loss_landscape import loss_landscapes
from logitpair.auditing.reference import check_certified, check_reference, measure, parse_reported
from logitpair.auditing.result import Audit
from logitpair.auditing.scheduler import RULES
from logitpair.auditing.search import AuditContext, search_rounds, survey
from logitpair.auditing.strategies import strategies_for
from logitpair.auditing.verdict import bracket, decide
from logitpair.certification.result import Certificate
from logitpair.data import Data, batches, check_data, count, fingerprint as fingerprint_of_data
from logitpair.errors import InputError
from logitpair.evaluation.attack_run import foreign_code
from logitpair.evaluation.confidence import accuracy
from logitpair.evaluation.evaluate import check_sources, provenance
from logitpair.evaluation.resumable import Execution, check_shared
from logitpair.models.inference import device_of, frozen_eval
from logitpair.runtime import threads
from logitpair.runtime.distributed import ALONE, World
from logitpair.runtime.precision import Precision, full_precision, name_of, resolve
from logitpair.storage.class_path import describe
from logitpair.storage.model_fingerprint import fingerprint
from logitpair.storage.results import BUDGET, SCHEMA, Accuracy, AuditResults
from logitpair.threat import Threat, check_threat
from logitpair.validate import check_model, check_seed, instance, positive


def audit(
    model: nn.Module,
    data: Data,
    *,
    threat: Threat,
    budget: float = BUDGET,
    minutes: float | None = None,
    reference_attack: PGD | None = None,
    reported_accuracy: Mapping[str, Any] | None = None,
    sources: Mapping[str, nn.Module] | None = None,
    certificate: Certificate | None = None,
    seed: int = 0,
    batch_size: int = 256,
    workers: int = 0,
    precision: Precision = "float32",
    folder: Path | str | None = None,
    world: World = ALONE,
    progress: bool = True,
) -> Audit:
    """Search for adversarial images, check what could mislead a search, and say whether a reference attack's accuracy can be believed.

    One search, and those by ``sources``, begin over all examples, the others over those nearest to being broken. The next round is the
    one that promises the most breaks for its cost, by what it broke before. They end when another pass of every search is not expected to
    break one example in a thousand, or one where they are fewer, at 95% confidence, or when the budget is spent. Every break is verified by
    a fresh float32 forward pass on an image in the ball and the box.

    Args:
        model: maps images in [0, 1] to logits; run in eval mode, on the device it is on, and left as it was.
        data: ``(x, y)``, a ``Dataset``, or a ``DataLoader``, which is read into memory.
        threat: the ball, such as ``lp.Linf(8/255)`` or ``lp.L2(0.5)``.
        budget: gradients an image may cost on average, a forward pass counting as a third.
        minutes: end the search after so many; what is found then depends on the machine.
        reference_attack: the attack whose number is judged; ``lp.reference_attack(threat)`` if None.
        reported_accuracy: what ``reference_attack`` gave elsewhere on the same examples, as ``results["attacks"][name]`` of an
            evaluation; measured here on 300 examples, drawn at random, if None.
        sources: other models by name, whose adversarial images are tried too.
        certificate: what ``lp.certify`` gave for this model on the same examples, in this ball or a larger one: certified examples are
            not searched, and bound the robust accuracy from below.
        seed: of all randomness.
        batch_size: images attacked together, and half as many once the memory is too small.
        workers: processes that load images; 0 for data held in memory.
        precision: of the searches; what they find is verified in float32.
        folder: where the work in progress is kept until ``Audit.save`` into it, so that the same call after an interruption resumes.
        world: the processes that share the work; they need a ``folder`` that all of them see.
        progress: show progress bars.

    Raises:
        InputError: for empty or invalid data, an eps of 0, a budget that is none, a model that does not return logits, or a certificate
            of something else.

    Source: ours; the checks follow Carlini et al. 2019, arXiv 1902.06705, and Athalye et al. 2018, arXiv 1802.00420.
    """
    check_model("model", model)
    check_threat(threat)
    for name, value in {"threat: eps": threat.eps, "budget": budget, "minutes": 1 if minutes is None else minutes}.items():
        positive(name, value)
    device = device_of(model)
    how = Execution(device, batch_size, workers, world, progress)
    check_seed("seed", seed)
    budget, seed = describe(budget), int(seed)  # as they are written down, also of numpy's
    check_data(data)
    check_shared(folder, world)
    sources = {} if sources is None else sources
    check_sources(sources)
    attack = check_reference(reference_attack, threat)
    data, examples = _in_memory(data)
    reported = None if reported_accuracy is None else parse_reported(reported_accuracy, attack, examples)
    data_key = fingerprint_of_data(data)
    instance("certificate", certificate, Certificate | None, "None or what lp.certify gives")
    certified = None if certificate is None else certificate.holds_for(model, data_key, threat)
    inputs = [data_key, fingerprint(model), describe(threat), describe(attack), *foreign_code(attack).values(), reported is None]
    others = [[name, fingerprint(source)] for name, source in sources.items()]
    key = [SCHEMA, RULES, *inputs, budget, seed, precision, *others, *([] if certified is None else [certified.tolist()])]
    began = time.perf_counter()
    context = AuditContext(
        model=model,
        data=data,
        threat=threat,
        seed=seed,
        dtype=resolve(precision, device),
        folder=Path(folder) if folder else None,
        cache_key=hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16],
        how=how,
    )
    with frozen_eval(model), torch.no_grad(), full_precision(device), threads.restored():
        ledger, classes = survey(context, examples, certified, sources)
        image, _ = context.images(np.arange(1))
        threads.suit(model, image, how.batch_size)
        strategies = strategies_for(threat, classes, sources, budget * examples, lambda: relu_graph(model, image) is not None)
        rounds, stop = search_rounds(context, ledger, strategies, budget, minutes)
        reference, audited = (reported, None) if reported else measure(context, ledger, attack, len(rounds))
        check_certified(reference, ledger)
        findings, curve, passes, restarts = run_checks(context, ledger, attack, sources, stop, classes)
        landscapes = loss_landscapes(context, ledger)
        origin = provenance(model, device, world, began)
    robust = Accuracy(**accuracy(ledger.still_correct))
    proven = None if certified is None else Accuracy(**accuracy(ledger.certified))
    undecided = None if certified is None else int(ledger.searchable.sum())
    verdict, reason = decide(reference, audited or robust, findings, stop, examples, undecided)
    record = AuditResults(
        name="audit",
        **origin,
        examples=examples,
        classes=classes,
        seed=seed,
        precision=name_of(precision, device),
        cache_key=context.cache_key if folder else None,
        threat=describe(threat),
        budget=budget,
        verdict=verdict,
        reason=reason + bracket(proven, robust),
        clean=Accuracy(**accuracy(ledger.clean_correct)),
        reference=reference,
        robust_accuracy=robust,
        certified=proven,
        robust_accuracy_8_bit=Accuracy(**accuracy(~ledger.columns["broken_8_bit"])),
        findings=findings,
        rounds=rounds,
        stop_reason=stop.reason,
        converged=stop.converged,
        further_breaks=stop.further_breaks,
        eps_curve=curve,
        gradient_evaluations_per_example=float(ledger.columns["gradients"].mean()),
        forward_evaluations_per_example=float(ledger.columns["forwards"].mean()),
        checks=passes,
    )
    return Audit(record, ledger.columns | {"certified": ledger.certified} | restarts | landscapes)


def _in_memory(data: Data) -> tuple[Data, int]:
    """Data whose examples can be chosen by position, and how many there are."""
    if isinstance(data, DataLoader):
        pairs: list[tuple[Tensor, Tensor]] = list(batches(data, 256, torch.device("cpu")))
        data = (torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])) if pairs else (torch.zeros(0), torch.zeros(0).long())
    examples = count(data)
    if not examples:
        raise InputError("data: holds no examples" if examples == 0 else "data: has no length; pass a Dataset or tensors")
    return data, examples
