"""Evaluation by the paper's protocol: clean, white box, black box by transfer, worst case over the attacks."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from logitpair.attacks import Attack
from logitpair.data import Data, batches, check_data, count, fingerprint, select
from logitpair.errors import InputError
from logitpair.evaluation.adversarial_cache import AdversarialImages
from logitpair.evaluation.aggregate import first_broken, summarize
from logitpair.evaluation.attack_run import attack_batch, plan
from logitpair.evaluation.result import Evaluation
from logitpair.models.inference import check_accepts, device_of, frozen_eval
from logitpair.runtime import distributed, environment
from logitpair.runtime.distributed import ALONE, World
from logitpair.runtime.precision import exact
from logitpair.runtime.progress import Progress
from logitpair.storage.ledger import LedgerChunk, PartialLedger, merge, total
from logitpair.storage.model_fingerprint import weights_of
from logitpair.storage.schema1 import SCHEMA
from logitpair.validate import at_least, check_batch, check_model, warn_if_probabilities


def evaluate(
    model: nn.Module,
    data: Data,
    *,
    attacks: Mapping[str, Attack],
    sources: Mapping[str, nn.Module] | None = None,
    curve: Sequence[float] = (),
    curve_examples: int = 500,
    seed: int = 0,
    batch_size: int = 256,
    workers: int = 0,
    name: str = "evaluation",
    folder: Path | str | None = None,
    adversarial: Path | str | None = None,
    source_images: Path | str | None = None,
    world: World = ALONE,
    progress: bool = True,
) -> Evaluation:
    """Measure accuracy on clean images, under each attack, and on images made against other models.

    An example that is misclassified without any perturbation counts as broken by every attack. No result depends, but for the
    rounding of the network's own kernels, on how the data are cut into batches or shared between processes: each example has a
    stream of random numbers of its own, by its position.

    Args:
        model: maps images in [0, 1] to logits; run in eval mode and float32, on the device it is on, and left as it was.
        data: ``(x, y)`` (tensors or arrays), a ``Dataset`` or a ``DataLoader``; float images in [0, 1] or uint8. A ``DataLoader`` has no
            order to rely on, so with it no folder can be given.
        attacks: white-box attacks by name.
        sources: other models by name; the same attacks are made against them, to their last step, and tried on ``model``.
        curve: radii, in the pixels' unit, at which the first attack (scaled) is run for the accuracy-against-eps curve.
        curve_examples: how many examples the curve is measured on.
        seed: of all randomness.
        batch_size: images attacked together.
        workers: processes that load images; 0 for data held in memory.
        name: of the evaluation, in reports.
        folder: where each batch's part of the ledger is kept until the end, so that the same call after an interruption, even with
            another batch size or number of processes, goes on from there. ``Evaluation.save`` into it ends it.
        adversarial: folder to keep every adversarial image in, for ``logitpair.verify``; not together with ``source_images``.
        source_images: folder that several evaluations share: the images made against a source are kept there, and those that another
            evaluation made for the same examples are taken again, once they are seen to lie in the threat model.
        world: this process' place among those that share the work; they need a ``folder`` that all of them see.
        progress: show a progress bar.

    Raises:
        InputError: for empty or invalid data, no attacks, a curve that cannot be drawn, or a model that is none or returns no logits.

    Source: arXiv 1803.06373, section 5. The paper's "worst case" is the lowest accuracy over the attacks (``white_box``);
    ``white_box_union`` is stricter: it counts an example as broken if any attack broke it.
    """
    _check(model, data, attacks, sources)
    at_least("batch_size", batch_size, 1)
    at_least("curve_examples", curve_examples, 1)
    kept = bool(folder or adversarial or source_images)
    of_data = fingerprint(data) if kept else None
    if kept and of_data is None:
        raise InputError("data: a DataLoader or a stream has no order to go on from; pass its Dataset, or give no folder")
    if adversarial and source_images:
        raise InputError("source_images is given beside adversarial, which keeps the sources' images too; accepted: one of them")
    if folder is None and world.size > 1:
        raise InputError("folder is not given; several processes need one that all of them see")
    trials = plan(model, attacks, sources or {}, curve, curve_examples, seed, of_data)
    images = AdversarialImages(Path(adversarial)) if adversarial else None
    cache = AdversarialImages(Path(source_images)) if source_images else images
    device = device_of(model)
    began = time.perf_counter()
    asked = [SCHEMA, count(data), bool(images), *(trial.made_by for trial in trials)]
    request = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    parts = PartialLedger(Path(folder), request) if folder is not None else None
    done = parts.done() if parts else np.zeros(0, dtype=np.int64)
    distributed.wait(world)  # or the parts of the fastest would be taken for done before
    made: list[LedgerChunk] = []
    shown = progress and world.is_main
    with frozen_eval(model), torch.no_grad(), exact(device), Progress("evaluate", count(data), len(done), ", ".join(attacks), shown) as bar:
        for number, (position, x, y) in enumerate(_remaining(data, done, batch_size, device, workers, world)):
            if not number:
                _try(model, sources or {}, x)
            part = attack_batch(model, trials, x, y, position, images, cache)
            if not number:
                warn_if_probabilities(model(x))
            if parts:
                parts.save(part)
            else:
                made.append(part)
            bar.advance(len(x) * world.size)
    distributed.wait(world)
    pieces = parts.read() if parts else [part.arrays() for part in made]
    distributed.wait(world)  # before the main process, having saved the whole, deletes the parts
    if not pieces:
        raise InputError("data: holds no examples")
    examples = count(data) if parts else sum(len(piece["y"]) for piece in pieces)
    columns = merge(pieces, examples or 0)
    columns |= first_broken(trials, columns)
    classes = int(pieces[0]["facts/classes"])
    seconds = {trial.key: total(pieces, f"seconds/{trial.key}") for trial in trials}
    results = {
        "schema": SCHEMA,
        "kind": "evaluation",
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": type(model).__name__,
        "weights": weights_of(model),
        "examples": len(columns["y"]),
        "classes": classes,
        **summarize(trials, columns, seconds, classes, kept=images is not None),
        **({"request": request} if folder is not None else {}),
        "seed": seed,
        "batch_size": batch_size,
        "precision": str(columns["gallery/x"].dtype),
        "versions": environment.versions(),
        "hardware": environment.hardware(device) | ({"processes": world.size} if world.size > 1 else {}),
        "wall_time_seconds": round(time.perf_counter() - began, 3),
    }
    return Evaluation(results, columns)


def _remaining(
    data: Data, done: np.ndarray, batch_size: int, device: torch.device, workers: int, world: World
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """This process' batches of what is not done: positions, images, labels."""
    examples = count(data)
    if isinstance(data, DataLoader) or examples is None:  # can only be read from the front
        positions, chosen = None, data
    else:
        left = torch.from_numpy(np.setdiff1d(np.arange(examples), done))
        own = [piece for number, piece in enumerate(left.split(batch_size)) if number % world.size == world.rank]
        positions = torch.cat([left[:0], *own])
        chosen = select(data, positions.tolist())
        if not len(positions):
            return
    start = 0
    for x, y in batches(chosen, batch_size, device, workers):
        rows = torch.arange(start, start + len(x))
        start += len(x)
        yield rows if positions is None else positions[rows], x, y


def _check(model: object, data: object, attacks: object, sources: object) -> None:
    """Refuse arguments of another kind than ``evaluate`` takes."""
    check_model("model", model)
    check_data(data)
    if sources is not None and not isinstance(sources, Mapping):
        raise InputError(f"sources: must be a mapping of networks by name, such as {{'copy': model}}, not a {type(sources).__name__}")
    for name, source in (sources or {}).items():
        check_model(f"sources: '{name}'", source)
    if not isinstance(attacks, Mapping):
        raise InputError(
            f"attacks: must be a mapping of attacks by name, such as lp.attacks.paper_suite(...), not a {type(attacks).__name__}"
        )
    for name, attack in attacks.items():
        if not isinstance(attack, Attack):
            raise InputError(
                f"attacks: '{name}' is a {type(attack).__name__}, not an attack such as lp.attacks.PGD(...); lp.attacks.parse reads text"
            )


def _try(model: nn.Module, sources: Mapping[str, nn.Module], x: Tensor) -> None:
    """Refuse networks that are for other images, and sources for other classes, before anything is attacked.

    Warns of those that leave no gradient, on which gradient attacks find nothing.

    Raises:
        InputError: naming the network.
    """
    check_batch(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
    classes = {}
    for name, network in {"model": model, **{f"sources: '{name}'": source for name, source in sources.items()}}.items():
        logits = check_accepts(name, network, x)
        classes[name] = logits.shape[1]
        if classes[name] != classes["model"]:
            raise InputError(f"{name} has {classes[name]} classes, the model {classes['model']}")
        if not logits.requires_grad:
            warnings.warn(f"{name}: its logits carry no gradient; gradient attacks stand still", stacklevel=3)
