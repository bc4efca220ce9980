"""Evaluation by the paper's protocol: clean, white box, black box by transfer, worst case over the attacks."""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from logitpair.attacks import Attack
from logitpair.data import Data, check_data, count, fingerprint
from logitpair.errors import InputError
from logitpair.evaluation.adversarial_cache import AdversarialImages
from logitpair.evaluation.aggregate import first_broken, summarize, together
from logitpair.evaluation.attack_run import CURVE, AttackRun, attack_batch, check_name, plan
from logitpair.evaluation.network_checks import check_networks, warn_of_misleading
from logitpair.evaluation.result import Evaluation
from logitpair.evaluation.resumable import Chunk, Execution, check_shared, resumable_map
from logitpair.models.inference import device_of, frozen_eval, logits_in_eval
from logitpair.rng import draw_sample
from logitpair.runtime import environment, threads
from logitpair.runtime.distributed import ALONE, World
from logitpair.runtime.precision import full_precision
from logitpair.storage import model_fingerprint
from logitpair.storage.ledger import FACTS, Columns, PartialLedger, merge, total
from logitpair.storage.results import NO_CLASS, SCHEMA, EvaluationResults, Hardware
from logitpair.validate import check_batch, check_model, check_seed, warn_if_probabilities, whole

logger = logging.getLogger("logitpair")


def evaluate(
    model: nn.Module,
    data: Data,
    *,
    attacks: Mapping[str, Attack],
    sources: Mapping[str, nn.Module] | None = None,
    curve: Iterable[float] = (),
    curve_examples: int = 500,
    worst_case_only: bool = False,
    seed: int = 0,
    batch_size: int = 256,
    workers: int = 0,
    name: str = "evaluation",
    folder: Path | str | None = None,
    adversarial: AdversarialImages | Path | str | None = None,
    world: World = ALONE,
    progress: bool = True,
) -> Evaluation:
    """Measure accuracy on clean images, under each attack, and on images made against other models.

    An example that is misclassified unperturbed counts as broken by every attack. Each example has a stream of random numbers of its own,
    by its position, so that but for the rounding of kernels no result depends on batches or on the number of processes; of a network whose
    logits do, or are random, a warning is logged. An adversarial image whose logits are not finite counts as misclassified, and how many
    there are is logged.

    Args:
        model: maps images in [0, 1] to logits; run in eval mode and float32, on the device it is on, and left as it was.
        data: ``(x, y)`` (tensors or arrays), a ``Dataset``, or, if no folder is given, a ``DataLoader``; float images in [0, 1] or uint8.
        attacks: white-box attacks by name.
        sources: other models by name; the same attacks are made against them, to their last step, and tried on ``model``.
        curve: radii, in [0, 1] pixel scale, at which the first attack (scaled) is run for the accuracy-against-eps curve.
        curve_examples: how many examples the curve is measured on, drawn at random; the first of data that have no length.
        worst_case_only: measure what all white-box attacks leave together, and of each one what it adds: it searches only the images that
            no attack before it broke. ``white_box_union`` is as without it; what an attack alone leaves stays unknown. The order given
            is cheapest where strong attacks, and of equally strong ones the cheaper, come first.
        seed: of all randomness.
        batch_size: images attacked together, and half as many once the memory is too small.
        workers: processes that load images; 0 for data held in memory.
        name: of the evaluation, in reports.
        folder: where each batch's chunk of the ledger is kept until ``Evaluation.save`` into it, so that the same call after an
            interruption resumes, also with another batch size or number of processes.
        adversarial: folder to keep every adversarial image in, for ``logitpair.verify``. Images made against a source that it holds
            for the same examples are used again, once they are seen to lie in the threat model. Several evaluations may share a
            ``logitpair.evaluation.adversarial_cache.AdversarialImages(folder, sources_only=True)``, which keeps no others.
        world: the processes that share the work; they need a ``folder`` that all of them see.
        progress: show a progress bar.

    Raises:
        InputError: for empty or invalid data, no attacks, a curve that cannot be drawn, or a model that is none or returns no logits.

    Source: arXiv 1803.06373, section 5. The paper's "worst case" is the lowest accuracy over the attacks (``white_box``);
    ``white_box_union`` is stricter: it counts an example as broken if any attack broke it.
    """
    began, sources = time.perf_counter(), {} if sources is None else sources
    _check_kinds(model, data, attacks, sources)
    device = device_of(model)
    how = Execution(device, batch_size, workers, world, progress)
    whole("curve_examples", curve_examples, 1)
    check_seed("seed", seed)
    seed = int(seed)  # as it is written down, also of numpy's
    data_key = fingerprint(data) if folder or adversarial else None
    if (folder or adversarial) and data_key is None:
        raise InputError("data: a DataLoader or a stream has no order to resume by; pass its Dataset, or give no folder")
    check_shared(folder, world)
    images = AdversarialImages(Path(adversarial)) if isinstance(adversarial, Path | str) else adversarial
    keeps_all = images is not None and not images.sources_only
    examples = count(data)
    runs = plan(model, attacks, sources, curve, _curve_sample(examples, curve_examples, seed), seed, data_key, worst_case_only)
    everything = [SCHEMA, examples, keeps_all, *(run.cache_key for run in runs), *(["in turn"] if worst_case_only else [])]
    cache_key = hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:16]
    partial = PartialLedger(Path(folder), cache_key) if folder is not None else None
    is_first = True

    def work(x: Tensor, y: Tensor, position: Tensor) -> Chunk:
        nonlocal is_first
        check_batch(x, y)
        if is_first:
            warn_of_misleading(model, check_networks(model, sources, x), x)
            threads.suit(model, x, how.batch_size)
        chunk = attack_batch(model, runs, x, y, position, images)
        if is_first:
            warn_if_probabilities(logits_in_eval(model, x))
        is_first = False
        return chunk

    with frozen_eval(model), torch.no_grad(), full_precision(device), threads.restored():
        chunks = resumable_map(work, data, "evaluate", how, note=", ".join(attacks), partial=partial)
        origin = provenance(model, device, world, began)
    if not chunks:
        raise InputError("data: holds no examples")
    columns = merge(chunks)
    columns |= first_broken(runs, columns)
    columns = together(runs, columns) if worst_case_only else columns
    if world.is_main:
        _warn_of_numbers_lost(runs, columns)
        _warn_of_images_lost(runs, chunks)
    classes = int(chunks[0][f"{FACTS}classes"])
    seconds = {run.column: total(chunks, f"seconds/{run.column}") for run in runs}
    record = EvaluationResults(
        name=name,
        **origin,
        examples=len(columns["y"]),
        classes=classes,
        **summarize(runs, columns, seconds, classes, images_kept=keeps_all),
        cache_key=cache_key if partial else None,
        seed=seed,
        batch_size=how.together,
        precision=str(columns["gallery/x"].dtype),
    )
    return Evaluation(record, columns)


def provenance(model: nn.Module, device: torch.device, world: World, began: float) -> dict[str, Any]:
    """How a result came about: these fields of a ``Results``."""
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": type(model).__name__,
        "weights": model_fingerprint.weights_of(model),
        "fingerprint": model_fingerprint.fingerprint(model),
        "versions": environment.versions(),
        "hardware": Hardware(**environment.hardware(device), processes=world.size if world.size > 1 else None),
        "wall_time_seconds": round(time.perf_counter() - began, 3),
    }


def check_mapping(name: str, value: object, holds: str) -> None:
    """Refuse what is no mapping."""
    if not isinstance(value, Mapping):
        raise InputError(f"{name}: must be a mapping of {holds}, not a {type(value).__name__}")


def check_sources(sources: Mapping[str, object]) -> None:
    """Refuse what is no mapping of networks by names that the ledger can hold."""
    check_mapping("sources", sources, "networks by name, such as {'copy': model}")
    for name, source in sources.items():
        check_name("sources", name)
        check_model(f"sources: '{name}'", source)


def _check_kinds(model: object, data: object, attacks: Mapping[str, object], sources: Mapping[str, object]) -> None:
    """Refuse arguments of another kind than ``evaluate`` takes."""
    check_model("model", model)
    check_data(data)
    check_sources(sources)
    check_mapping("attacks", attacks, "attacks by name, such as lp.attacks.paper_suite(...)")
    for name, attack in attacks.items():
        check_name("attacks", name, reserved=())
        if not isinstance(attack, Attack):
            found = f"'{name}' is a {type(attack).__name__}, not an attack such as lp.attacks.PGD(...)"
            raise InputError(f"attacks: {found}; lp.attacks.parse reads text")


def _curve_sample(examples: int | None, number: int, seed: int) -> tuple[int, ...] | None:
    """Positions of the examples that the curve is measured on; None for all. A data set may come class by class, so these are drawn."""
    if examples is None:
        return tuple(range(number))
    return tuple(draw_sample(np.arange(examples), number, seed, CURVE).tolist()) if number < examples else None


def _warn_of_numbers_lost(runs: Sequence[AttackRun], columns: Columns) -> None:
    """Say which attacks found images whose logits are not finite."""
    attacked = {run.column: len(run.attacked(len(columns["y"]))) for run in runs}
    for name, values in columns.items():
        column, _, of = name.rpartition("/")
        if of == "prediction" and (lost := int((values == NO_CLASS).sum())):
            found = f"logits that are not finite on {lost} of {attacked.get(column, len(values))} images under {column}"
            logger.warning("model: gives %s, which count as misclassified", found)


def _warn_of_images_lost(runs: Sequence[AttackRun], chunks: Sequence[Columns]) -> None:
    """Say which attacks returned images with NaN, which hold nothing that could be misclassified."""
    for run in runs:
        if astray := int(total(chunks, f"astray/{run.column}")):
            logger.warning("attacks: %s: NaN in %d of its images, for which it counts as having found nothing", run.column, astray)
