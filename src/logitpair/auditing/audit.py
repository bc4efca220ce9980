"""The audit: what a model really withstands, found with few gradients, and whether the number of a protocol can be believed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from logitpair.attacks import PGD
from logitpair.auditing.audit_ledger import STANDS, AuditLedger
from logitpair.auditing.loss_landscape import surfaces
from logitpair.auditing.protocol import eight_bit, examine, judge, settled
from logitpair.auditing.result import Audit
from logitpair.auditing.scheduler import RULES, Round, Stop, next_arm
from logitpair.auditing.search import AuditContext, Search, over, seconds
from logitpair.auditing.strategies import SearchStrategy, arms
from logitpair.auditing.verdict import verdict
from logitpair.data import Data, batches, count, fingerprint as fingerprint_of_data
from logitpair.errors import InputError
from logitpair.evaluation.attack_run import check_name
from logitpair.evaluation.confidence import accuracy
from logitpair.losses import margin
from logitpair.models.inference import check_accepts, compute_logits, device_of, frozen_eval
from logitpair.rng import derive_seed
from logitpair.runtime import distributed, environment
from logitpair.runtime.distributed import ALONE, World
from logitpair.runtime.precision import Precision, full_precision, resolve
from logitpair.storage.class_path import describe
from logitpair.storage.ledger import LedgerChunk
from logitpair.storage.model_fingerprint import fingerprint
from logitpair.storage.schema1 import SCHEMA
from logitpair.threat import Linf, check_threat
from logitpair.validate import at_least, check_batch, check_labels, check_model, positive

__all__ = ["Audit", "audit", "standard_protocol"]

BUDGET = 200.0


def audit(
    model: nn.Module,
    data: Data,
    *,
    threat: Linf,
    budget: float = BUDGET,
    minutes: float | None = None,
    protocol: PGD | None = None,
    claim: Mapping[str, Any] | None = None,
    sources: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    workers: int = 0,
    precision: Precision = "float32",
    folder: Path | str | None = None,
    world: World = ALONE,
    progress: bool = True,
) -> Audit:
    """Search for the images a model withstands, check what could mislead a search, and say whether a protocol's number holds.

    The searches go on round after round: two, and those by ``sources``, first over all examples, the others over those nearest to being
    broken. The next is the one that promises the most breaks for its cost, by what it broke before. They end when spending a tenth more is
    not expected to break one example in a thousand, or when the budget is spent. Every break is verified by a fresh float32 forward pass
    on an image in the ball and the box.

    Args:
        model: maps images in [0, 1] to logits; run in eval mode, on the device it is on, and left as it was.
        data: ``(x, y)``, a ``Dataset``, or a ``DataLoader``, which is read into memory.
        threat: the ball, such as ``lp.Linf(8/255)``.
        budget: gradients an image may cost on average, a forward pass counting as a third.
        minutes: end the search after so many; what is found then depends on the machine.
        protocol: the attack whose number is judged; ``standard_protocol(threat)`` if None.
        claim: the accuracy that ``protocol`` gave elsewhere on the same examples, as an *accuracy* entry of an evaluation; measured
            here on the first 300 examples if None.
        sources: other models by name, whose adversarial images are tried too.
        seed: of all randomness.
        batch_size: images attacked together.
        workers: processes that load images; 0 for data held in memory.
        precision: of the searches; what they find is verified in float32.
        folder: where the work in progress is kept, so that the same call goes on from there after an interruption.
            ``Audit.save`` into it ends it.
        world: this process's place among those that share the work; they need a ``folder`` that all of them see.
        progress: show progress bars.

    Raises:
        InputError: for empty or invalid data, an eps of 0, a budget that is none, or a model that does not return logits.

    Source: ours; the checks follow Carlini et al. 2019, arXiv 1902.06705, and Athalye et al. 2018, arXiv 1802.00420.
    """
    check_model("model", model)
    check_threat(threat)
    positive("threat: eps", threat.eps)
    positive("budget", budget)
    if minutes is not None:
        positive("minutes", minutes)
    if folder is None and world.size > 1:
        raise InputError("folder is not given; several processes need one that all of them see")
    for name in sources or {}:
        check_name("sources", name)
    if isinstance(data, DataLoader):
        data = _in_memory(data)
    examples = count(data)
    if not examples:
        raise InputError("data: holds no examples" if examples == 0 else "data: has no length; pass a Dataset or tensors")
    protocol = protocol or standard_protocol(threat)
    if protocol.target is not None:
        raise InputError("protocol: is targeted; accepted: an untargeted PGD")
    if protocol.threat != threat:
        raise InputError(f"protocol: attacks in {protocol.threat}, the audit in {threat}; accepted: the same threat model")
    if claim is not None and not {"top1", "correct", "total", "ci95"} <= claim.keys():
        raise InputError("claim: must hold top1, correct, total and ci95, as `results['attacks'][name]` of an evaluation does")
    at_least("batch_size", batch_size, 1)
    asked = [
        SCHEMA,
        RULES,
        fingerprint_of_data(data),
        fingerprint(model),
        describe(threat),
        describe(protocol),
        claim is None,
        budget,
        seed,
        precision,
    ]
    asked += [[name, fingerprint(source)] for name, source in (sources or {}).items()]
    device, began = device_of(model), time.perf_counter()
    quarry = AuditContext(
        model=model,
        data=data,
        threat=threat,
        device=device,
        batch_size=batch_size,
        workers=workers,
        dtype=resolve(precision, device),
        folder=Path(folder) if folder else None,
        request=hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16],
        world=world,
        progress=progress,
    )
    with frozen_eval(model), torch.no_grad(), full_precision(device):
        book, classes = _survey(quarry, examples)
        rounds, stop = _search(quarry, book, arms(threat, classes, sources or {}), budget, minutes, seed)
        judged, compared = judge(quarry, book, protocol, claim, seed, len(rounds))
        findings, looked, spent = examine(quarry, book, protocol, sources or {}, seed)
        findings += [settled(stop), eight_bit(book)]
        pictures = surfaces(quarry, book.columns["broken_by"], seed)
    robust = accuracy(book.columns["broken_by"] == STANDS)
    word, reason = verdict(judged, compared, findings, stop)
    gradients, forwards = (float(book.columns[name].sum()) / examples for name in ("gradients", "forwards"))
    results = {
        "schema": SCHEMA,
        "kind": "audit",
        "name": "audit",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": type(model).__name__,
        "examples": examples,
        "classes": classes,
        "threat": describe(threat),
        "verdict": word,
        "reason": reason,
        "clean": accuracy(book.columns["clean/prediction"] == book.columns["y"]),
        "protocol": judged,
        "robust_accuracy": robust,
        "robust_accuracy_8_bit": accuracy(~book.columns["broken_8_bit"]),
        "findings": [finding.entry() for finding in findings],
        "rounds": _entries(rounds, examples, int((book.columns["clean/prediction"] == book.columns["y"]).sum())),
        "stopped": stop.reason,
        "settled": stop.settled,
        "request": quarry.request,
        "eps_curve": [{"eps": eps, "top1": top1, "examples": looked.margins.shape[1]} for eps, top1 in looked.eps] if looked else [],
        "gradient_evaluations_per_example": gradients,
        "forward_evaluations_per_example": forwards,
        "checks": {"gradient_evaluations_per_example": spent[0] / examples, "forward_evaluations_per_example": spent[1] / examples},
        "budget": budget,
        "seed": seed,
        "precision": str(quarry.dtype).removeprefix("torch."),
        "versions": environment.versions(),
        "hardware": environment.hardware(device) | ({"processes": world.size} if world.size > 1 else {}),
        "wall_time_seconds": round(time.perf_counter() - began, 3),
    }
    restarts = {"restarts/margin": looked.margins.double().cpu().numpy()} if looked else {}
    return Audit(results, book.columns | restarts | pictures)


def standard_protocol(threat: Linf) -> PGD:
    """PGD with 40 steps of a thirtieth of eps from a random point: the paper's attack on MNIST, whatever the radius."""
    return PGD(threat, step_size=threat.eps / 30, steps=40)


def _in_memory(data: DataLoader[Any]) -> tuple[Tensor, Tensor]:
    pairs = list(batches(data, 256, torch.device("cpu")))
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])


def _survey(quarry: AuditContext, examples: int) -> tuple[AuditLedger, int]:
    """A first look at all examples: what the model says without any attack."""

    def look(x: Tensor, y: Tensor, position: Tensor) -> LedgerChunk:
        check_batch(x, y)
        check_accepts("model", quarry.model, x)
        logits = compute_logits(quarry.model, x)
        check_labels(y, logits.shape[1])
        part = LedgerChunk(position)
        part.add("y", y)
        part.add("prediction", torch.where(torch.isfinite(logits).all(1), logits.argmax(1), -1))
        part.add("margin", margin(logits, y).double())
        part.add_images("x", x)
        part.facts["classes"] = logits.shape[1]
        return part

    parts = over(quarry, 0, np.arange(examples), look, "clean")
    return AuditLedger(parts, examples), int(parts[0]["facts/classes"])


def _search(
    quarry: AuditContext, book: AuditLedger, arms: tuple[SearchStrategy, ...], budget: float, minutes: float | None, seed: int
) -> tuple[list[Round], Stop]:
    """Round after round, until the planner says that it is enough."""
    rounds: list[Round] = []
    examples, began = len(book.columns["y"]), time.monotonic()
    while True:
        late = minutes is not None and time.monotonic() - began > 60 * minutes
        if distributed.any_process(late, quarry.world):
            return rounds, Stop(f"the {minutes:g} minutes are over", settled=False)
        standing = book.standing
        chosen = next_arm(arms, rounds, examples, len(standing), budget)
        if isinstance(chosen, Stop):
            return rounds, chosen
        arm, number = chosen.arm, len(rounds)
        attacked = book.nearest(arm.name, chosen.reach)
        work = Search(quarry, arm.attack(chosen.number), arm.source or quarry.model, derive_seed(seed, number))
        parts = over(quarry, number + 1, attacked, work, f"{arm.name}, {len(standing):,} standing")
        broken, gradients, forwards = book.add(number, arm.name, attacked, parts)
        rounds.append(Round(arm.name, chosen.number, len(attacked), broken, gradients, forwards, seconds(parts), chosen.cut))


def _entries(rounds: list[Round], examples: int, correct: int) -> Iterator[dict[str, Any]] | list[dict[str, Any]]:
    """The rounds as ``results.json`` has them, with what stood after each and what had been spent by then."""
    entries: list[dict[str, Any]] = []
    gradients = forwards = 0.0
    for done in rounds:
        correct, gradients, forwards = correct - done.broken, gradients + done.gradients, forwards + done.forwards
        entries.append(
            {
                "arm": done.arm,
                "turn": done.turn,
                "attacked": done.attacked,
                "broken": done.broken,
                "standing": correct,
                "gradients_per_example": gradients / examples,
                "forwards_per_example": forwards / examples,
                "seconds": round(done.seconds, 3),
            }
        )
    return entries
