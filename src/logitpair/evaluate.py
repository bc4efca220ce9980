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
    name: str = "evaluation",
    progress: bool = True,
) -> Evaluation:
    """Measure accuracy on clean images, under each attack, and on images made against other models.

    An example that is misclassified without any perturbation counts as broken by every attack, and is not attacked. No result
    depends on how the data are cut into batches: each example has a stream of random numbers of its own, by its position.

    Args:
        model: maps images in [0, 1] to logits; run in eval mode and float32, on the device it is on, and left as it was.
        data: ``(x, y)`` (tensors or arrays), a ``Dataset`` or a ``DataLoader``; float images in [0, 1] or uint8.
        attacks: white-box attacks by name.
        sources: other models by name; the same attacks are made against them, to their last step, and tried on ``model``.
        curve: radii, in the pixels' unit, at which the first attack (scaled) is run for the accuracy-against-eps curve.
        curve_examples: how many examples the curve is measured on.
        seed: of all randomness.
        batch_size: images attacked together.
        name: of the evaluation, in reports.
        progress: show a progress bar.

    Raises:
        InputError: for empty or invalid data, no attacks, or a model that does not return logits.

    Source: arXiv 1803.06373, section 5. The paper's "worst case" is the lowest accuracy over the attacks (``white_box``);
    ``white_box_union`` is stricter: it counts an example as broken if any attack broke it.
    """
    if not attacks:
        raise InputError("attacks is empty; it must name at least one attack")
    if WHITE_BOX in (sources or {}):
        raise InputError(f"sources: '{WHITE_BOX}' is the name of the model itself; accepted: any other name")
    at_least("batch_size", batch_size, 1)
    began = time.perf_counter()
    device = _device_of(model)
    trials = [Trial(WHITE_BOX, attack_name, model, attack) for attack_name, attack in attacks.items()]
    for source, network in (sources or {}).items():
        trials += [Trial(source, attack_name, network, attack.exhaustive()) for attack_name, attack in attacks.items()]

    ledger, examples = Ledger(), 0
    no_autocast = torch.autocast(device.type, enabled=False)
    with undisturbed(model), torch.no_grad(), no_autocast, progress_bar(disable=not progress) as bar:
        task = bar.add_task("evaluate", total=count(data), note="")
        for x, y in batches(data, batch_size, device):
            check_batch(x, y)
            clean = logits_of(model, x)
            check_labels(y, clean.shape[1])
            if not examples:
                warn_if_probabilities(clean)
            ledger.add("clean", clean, y)
            ledger.append("y", y)
            ledger.add_images("x", x)
            right = clean.argmax(1) == y
            positions = torch.arange(examples, examples + len(x))
            for trial in trials:
                bar.update(task, note=f"{trial.name} on {trial.victim.replace('_', ' ')}")
                x_adv = trial.run(x, y, right, positions, seed)
                ledger.add(trial.key, logits_of(model, x_adv), y)
                ledger.append(f"{trial.key}/distance", trial.attack.threat.distance(x_adv, x))
                if trial.victim == WHITE_BOX:
                    ledger.add_images(trial.key, x_adv)
            examples += len(x)
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
        "classes": ledger.classes,
        **summarize(trials, columns, ledger.classes),
        "curve": _curve(model, first(data, curve_examples), attacks, curve, seed, batch_size) if curve else [],
        "seed": seed,
        "batch_size": batch_size,
        "precision": "float32",
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
        "wall_time_seconds": round(time.perf_counter() - began, 3),
    }
    return Evaluation(results, columns)


@dataclass
class Trial:
    """One attack on one victim (the model itself or a source), and what it has cost so far."""

    victim: str
    name: str
    network: nn.Module
    attack: Attack
    gradient_evaluations: int = 0
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """The prefix of its columns in the ledger."""
        return f"{self.victim}/{self.name}"

    def run(self, x: Tensor, y: Tensor, right: Tensor, positions: Tensor, seed: int) -> Tensor:
        """``x`` with the images that were classified right attacked; what leaves the threat model is put back."""
        began = time.perf_counter()
        chosen = right.nonzero().squeeze(1)
        streams = ExampleStreams(derive_seed(seed, self.victim, self.name), positions[chosen.cpu()])
        counted = Counted(self.network)
        found = self.attack(counted, x[chosen], y[chosen], generator=streams)
        inside = self.attack.threat.contains(found, x[chosen])
        x_adv = x.clone()
        x_adv[chosen[inside]] = found[inside]
        self.gradient_evaluations += counted.gradient_evaluations
        self.seconds += time.perf_counter() - began
        return x_adv

    def entry(self, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Its part of ``results.json``."""
        entry = accuracy(columns[f"{self.key}/prediction"] == columns["y"], columns.get(f"{self.key}/top5"))
        if "top5" in entry:
            entry["top5_is_upper_bound"] = self.attack != self.attack.exhaustive()  # it stopped once the first guess was wrong
        return entry | {
            "parameters": describe(self.attack),
            "largest_distance": float(columns[f"{self.key}/distance"].max()),
            "gradient_evaluations_per_example": self.gradient_evaluations / len(columns["y"]),
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
        summary = {key: entries[worst][key] for key in ("top1", "top5", "correct", "total", "ci95") if key in entries[worst]}
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


def _curve(
    model: nn.Module, data: Data, attacks: Mapping[str, Attack], radii: Sequence[float], seed: int, batch_size: int
) -> list[dict[str, Any]]:
    """Accuracy at each radius under the first attack, its steps scaled with the ball."""
    name, attack = next(iter(attacks.items()))
    if radii and not attack.threat.eps:
        raise InputError(f"curve: attack '{name}' has eps 0 and cannot be scaled; accepted: an attack with eps above 0, or no curve")
    points = []
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
