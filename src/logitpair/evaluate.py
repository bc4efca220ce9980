"""Evaluation by the paper's protocol: clean, white box, black box by transfer, worst case over the attacks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from logitpair import environment
from logitpair.attacks import Attack, Unperturbed, undisturbed
from logitpair.attacks.base import logits_of
from logitpair.console import progress_bar
from logitpair.data import Data, batches, count, first
from logitpair.describe import describe
from logitpair.errors import InputError
from logitpair.evaluation import SCHEMA, Evaluation
from logitpair.ledger import Ledger
from logitpair.precision import exact
from logitpair.random import ExampleStreams, derive_seed
from logitpair.statistics import accuracy
from logitpair.validate import at_least, check_batch, check_labels, warn_if_probabilities

WHITE_BOX = "white_box"
CONFUSION_CLASSES = 50  # up to which the confusion matrix is worth a reader's while


class Counted(nn.Module):
    """The model, counting the images that pass through it with and without a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.gradient_evaluations = 0
        self.forward_evaluations = 0

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            self.gradient_evaluations += len(x)
        else:
            self.forward_evaluations += len(x)
        return self.model(x)


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
    progress: bool = True,
) -> Evaluation:
    """Measure accuracy on clean images, under each attack, and on images made against other models.

    An example that is misclassified without any perturbation counts as broken by every attack. No result depends, but for the
    rounding of the network's own kernels, on how the data are cut into batches: each example has a stream of random numbers of its
    own, by its position.

    Args:
        model: maps images in [0, 1] to logits; run in eval mode and float32, on the device it is on, and left as it was.
        data: ``(x, y)`` (tensors or arrays), a ``Dataset`` or a ``DataLoader``; float images in [0, 1] or uint8.
        attacks: white-box attacks by name.
        sources: other models by name; the same attacks are made against them, to their last step, and tried on ``model``.
        curve: radii, in the pixels' unit, at which the first attack (scaled) is run for the accuracy-against-eps curve.
        curve_examples: how many examples the curve is measured on.
        seed: of all randomness.
        batch_size: images attacked together.
        workers: processes that load images; 0 for data held in memory.
        name: of the evaluation, in reports.
        progress: show a progress bar.

    Raises:
        InputError: for empty or invalid data, no attacks, a curve that cannot be drawn, or a model that does not return logits.

    Source: arXiv 1803.06373, section 5. The paper's "worst case" is the lowest accuracy over the attacks (``white_box``);
    ``white_box_union`` is stricter: it counts an example as broken if any attack broke it.
    """
    if not attacks:
        raise InputError("attacks is empty; it must name at least one attack")
    if WHITE_BOX in (sources or {}):
        raise InputError(f"sources: '{WHITE_BOX}' is the name of the model itself; accepted: any other name")
    at_least("batch_size", batch_size, 1)
    on_curve = first(data, curve_examples) if curve else data
    check_curve(attacks, curve)
    began = time.perf_counter()
    device = _device_of(model)
    trials = [Trial(WHITE_BOX, attack_name, model, attack) for attack_name, attack in attacks.items()]
    for source, network in (sources or {}).items():
        trials += [Trial(source, attack_name, network, attack.exhaustive()) for attack_name, attack in attacks.items()]

    ledger, examples, classes, dtype = Ledger(), 0, 0, torch.float32
    with undisturbed(model), torch.no_grad(), exact(device), progress_bar(disable=not progress) as bar:
        task = bar.add_task("evaluate", total=count(data), note="")
        for x, y in batches(data, batch_size, device, workers):
            check_batch(x, y)
            clean = logits_of(model, x)
            check_labels(y, clean.shape[1])
            if not examples:
                warn_if_probabilities(clean)
            hits = Hits.of(clean, y)
            ledger.add("clean", clean.argmax(1), hits.top5)
            ledger.append("y", y)
            ledger.add_images("x", x)
            positions = torch.arange(examples, examples + len(x))
            for trial in trials:
                bar.update(task, note=f"{trial.name} on {trial.victim.replace('_', ' ')}")
                x_adv = trial.run(x, y, hits, positions, seed)
                attacked = logits_of(model, x_adv)
                # an image that needs no attack to be misclassified stays broken, whatever the attack made of it
                prediction = torch.where(hits.top1, attacked.argmax(1), clean.argmax(1))
                ledger.add(trial.key, prediction, (hits & Hits.of(attacked, y)).top5)
                ledger.append(f"{trial.key}/distance", trial.attack.threat.distance(x_adv, x))
                if trial.victim == WHITE_BOX:
                    ledger.add_images(trial.key, x_adv)
            examples, classes, dtype = examples + len(x), clean.shape[1], x.dtype
            bar.update(task, completed=examples)
    if not examples:
        raise InputError("data: holds no examples")

    columns = ledger.columns()
    results = {
        "schema": SCHEMA,
        "kind": "evaluation",
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": type(model).__name__,
        "examples": examples,
        "classes": classes,
        **summarize(trials, columns, classes),
        "curve": _curve(model, on_curve, attacks, curve, seed, batch_size),
        "seed": seed,
        "batch_size": batch_size,
        "precision": str(dtype).removeprefix("torch."),
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
        "wall_time_seconds": round(time.perf_counter() - began, 3),
    }
    return Evaluation(results, columns)


@dataclass(frozen=True)
class Hits:
    """Which examples of a batch are classified right: by the first guess and, with more than five classes, by one of five."""

    top1: Tensor
    top5: Tensor | None

    @classmethod
    def of(cls, logits: Tensor, y: Tensor) -> Hits:
        """Those of these logits ``[batch, classes]``."""
        top5 = (logits.topk(5, dim=1).indices == y[:, None]).any(1) if logits.shape[1] > 5 else None
        return cls(logits.argmax(1) == y, top5)

    def __and__(self, other: Hits) -> Hits:
        top5 = None if self.top5 is None or other.top5 is None else self.top5 & other.top5
        return Hits(self.top1 & other.top1, top5)


@dataclass
class Trial:
    """One attack on one victim (the model itself or a source), and what it has cost so far."""

    victim: str
    name: str
    network: nn.Module
    attack: Attack
    gradient_evaluations: int = 0
    forward_evaluations: int = 0
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """The prefix of its columns in the ledger."""
        return f"{self.victim}/{self.name}"

    @property
    def stops_early(self) -> bool:
        """Whether the search ends once the first guess is wrong, so that top-5 is not attacked to the end."""
        return self.attack != self.attack.exhaustive()

    def run(self, x: Tensor, y: Tensor, hits: Hits, positions: Tensor, seed: int) -> Tensor:
        """``x`` with the images attacked that still can be broken; what leaves the threat model is put back."""
        began = time.perf_counter()
        standing = hits.top1 if self.stops_early or hits.top5 is None else hits.top1 | hits.top5
        chosen = standing.nonzero().squeeze(1)
        streams = ExampleStreams(derive_seed(seed, self.victim, self.name), positions[chosen.cpu()])
        counted = Counted(self.network)
        found = self.attack(counted, x[chosen], y[chosen], generator=streams)
        inside = self.attack.threat.contains(found, x[chosen])
        x_adv = x.clone()
        x_adv[chosen[inside]] = found[inside]
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        self.gradient_evaluations += counted.gradient_evaluations
        self.forward_evaluations += counted.forward_evaluations
        self.seconds += time.perf_counter() - began
        return x_adv

    def entry(self, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Its part of ``results.json``."""
        entry = accuracy(columns[f"{self.key}/prediction"] == columns["y"], columns.get(f"{self.key}/top5"))
        if "top5" in entry:
            entry["top5_is_upper_bound"] = self.stops_early
        return entry | {
            "parameters": describe(self.attack),
            "largest_distance": float(columns[f"{self.key}/distance"].max()),
            "gradient_evaluations_per_example": self.gradient_evaluations / len(columns["y"]),
            "forward_evaluations_per_example": self.forward_evaluations / len(columns["y"]),
            "seconds": round(self.seconds, 3),
        }


def summarize(trials: Sequence[Trial], columns: Mapping[str, np.ndarray], classes: int) -> dict[str, Any]:
    """Clean accuracy, white box and black box: each attack's entry, the worst attack, and the union of all."""
    y = columns["y"]
    parts: dict[str, dict[str, Any]] = {}
    for victim in dict.fromkeys(trial.victim for trial in trials):
        own = [trial for trial in trials if trial.victim == victim]
        entries = {trial.name: trial.entry(columns) for trial in own}
        worst = min(entries, key=lambda name: entries[name]["correct"])
        standing = np.all([columns[f"{trial.key}/prediction"] == y for trial in own], axis=0)
        summary = {key: entries[worst][key] for key in ("top1", "correct", "total", "ci95")}
        if "top5" in entries[worst]:
            summary["top5"] = min(entry["top5"] for entry in entries.values())
        parts[victim] = summary | {"attack": worst, "union": accuracy(standing), "attacks": entries}
    white_box = parts.pop(WHITE_BOX)
    if classes <= CONFUSION_CLASSES:
        white_box["confusion"] = _confusion(y, columns[f"{WHITE_BOX}/{white_box['attack']}/prediction"], classes)
    return {
        "clean": accuracy(columns["clean/prediction"] == y, columns.get("clean/top5")),
        "attacks": white_box.pop("attacks"),
        "white_box_union": white_box.pop("union"),
        "white_box": white_box,
        "black_box": parts,
    }


def check_curve(attacks: Mapping[str, Attack], curve: Sequence[float]) -> None:
    """Refuse radii that are no radii, or a first attack that cannot be scaled to them."""
    for eps in curve:
        at_least("curve", eps, 0)
    name, attack = next(iter(attacks.items()))
    if curve and not attack.threat.eps:
        raise InputError(f"curve: attack '{name}' has eps 0 and cannot be scaled; accepted: an attack with eps above 0, or no curve")


def _curve(
    model: nn.Module, data: Data, attacks: Mapping[str, Attack], radii: Sequence[float], seed: int, batch_size: int
) -> list[dict[str, Any]]:
    """Accuracy at each radius under the first attack, its steps scaled with the ball."""
    name, attack = next(iter(attacks.items()))
    points: list[dict[str, Any]] = []
    for eps in radii:
        scaled = attack.scaled(eps / attack.threat.eps) if eps else Unperturbed()
        results = evaluate(model, data, attacks={name: scaled}, seed=seed, batch_size=batch_size, progress=False).results
        entry = results["attacks"][name]
        points.append({"eps": eps, "attack": name, **{key: entry[key] for key in ("top1", "correct", "total", "ci95")}})
    return points


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _confusion(y: np.ndarray, prediction: np.ndarray, classes: int) -> list[list[int]]:
    """``[true][predicted]`` counts."""
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (y, prediction), 1)
    return counts.tolist()
