"""Evaluation by the paper's protocol: clean, white box, black box by transfer, worst case over the attacks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from logitpair import environment
from logitpair.attacks import Attack, Unperturbed, undisturbed
from logitpair.attacks.base import logits_of
from logitpair.console import progress_bar
from logitpair.data import Data, batches, first
from logitpair.describe import describe
from logitpair.errors import InputError
from logitpair.evaluation import SCHEMA, Evaluation
from logitpair.random import ExampleStreams, derive_seed
from logitpair.statistics import accuracy
from logitpair.validate import at_least, check_batch, check_labels, warn_if_probabilities

GALLERY = 12  # examples whose images are kept for people to look at
WHITE_BOX = "white_box"


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
    victims: dict[str, nn.Module] = {WHITE_BOX: model, **(sources or {})}
    jobs = [(victim, attack) for victim in victims for attack in attacks]
    ledger = _Ledger()
    cost = {job: {"gradients": 0, "seconds": 0.0} for job in jobs}

    no_autocast = torch.autocast(device.type, enabled=False)
    with undisturbed(model), torch.no_grad(), no_autocast, progress_bar(disable=not progress) as bar:
        task = bar.add_task("evaluate", total=None, note="")
        offset = 0
        for x, y in batches(data, batch_size, device):
            check_batch(x, y)
            clean = logits_of(model, x)
            check_labels(y, clean.shape[1])
            ledger.add_clean(clean, y)
            indices = torch.arange(offset, offset + len(x))
            if offset == 0:
                warn_if_probabilities(clean)
            ledger.add_images("x", x)
            for victim, attack_name in jobs:
                bar.update(task, note=f"{offset:,} examples · {attack_name} on {victim.replace('_', ' ')}")
                chosen = (clean.argmax(1) == y).nonzero().squeeze(1)
                streams = ExampleStreams(derive_seed(seed, victim, attack_name), indices[chosen.cpu()])
                start = time.perf_counter()
                counted = Counted(victims[victim]).eval()
                attack = attacks[attack_name] if victim == WHITE_BOX else attacks[attack_name].exhaustive()
                found = attack(counted, x[chosen], y[chosen], generator=streams)
                cost[victim, attack_name]["gradients"] += counted.gradient_evaluations
                cost[victim, attack_name]["seconds"] += time.perf_counter() - start
                x_adv = x.clone()
                x_adv[chosen] = torch.where(attack.threat.contains(found, x[chosen])[:, None, None, None], found, x[chosen])
                ledger.add_attacked(f"{victim}/{attack_name}", logits_of(model, x_adv), y, attack.threat.distance(x_adv, x))
                if victim == WHITE_BOX:
                    ledger.add_images(f"{victim}/{attack_name}", x_adv)
            offset += len(x)
            bar.update(task, completed=offset)
        if not offset:
            raise InputError("data: holds no examples")

    columns = ledger.columns()
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "evaluation",
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": type(model).__name__,
        "examples": offset,
        "classes": ledger.classes,
        "clean": accuracy(columns["clean/prediction"] == columns["y"], columns.get("clean/top5")),
        "attacks": {},
        "black_box": {},
        "curve": _curve(model, first(data, curve_examples), attacks, curve, seed, batch_size) if curve else [],
        "seed": seed,
        "batch_size": batch_size,
        "precision": "float32",
        "versions": environment.versions(),
        "hardware": environment.hardware(device),
    }
    for victim in victims:
        entries = {a: _entry(columns, f"{victim}/{a}", attacks[a], victim, cost[victim, a], offset) for a in attacks}
        worst = min(entries, key=lambda a: entries[a]["correct"])
        standing = np.all([columns[f"{victim}/{a}/prediction"] == columns["y"] for a in attacks], axis=0)
        summary = {key: entries[worst][key] for key in ("top1", "top5", "correct", "total", "ci95") if key in entries[worst]}
        summary["attack"] = worst
        if victim == WHITE_BOX:
            results["attacks"] = entries
            results["white_box"] = summary
            results["white_box_union"] = accuracy(standing)
            if ledger.classes <= 50:
                results["white_box"]["confusion"] = _confusion(columns["y"], columns[f"{victim}/{worst}/prediction"], ledger.classes)
        else:
            results["black_box"][victim] = summary | {"union": accuracy(standing), "attacks": entries}
    results["wall_time_seconds"] = round(time.perf_counter() - began, 3)
    return Evaluation(results, columns)


class _Ledger:
    """What happened to every example, batch by batch."""

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray]] = {}
        self.classes = 0

    def add_clean(self, logits: Tensor, y: Tensor) -> None:
        self.classes = logits.shape[1]
        self._append("y", y)
        self._add("clean", logits, y)

    def add_attacked(self, prefix: str, logits: Tensor, y: Tensor, distance: Tensor) -> None:
        self._add(prefix, logits, y)
        self._append(f"{prefix}/distance", distance)

    def add_images(self, name: str, x: Tensor) -> None:
        kept = sum(map(len, self.parts.get(f"gallery/{name}", [])))
        if kept < GALLERY:
            self._append(f"gallery/{name}", x[: GALLERY - kept])

    def columns(self) -> dict[str, np.ndarray]:
        return {key: np.concatenate(parts) for key, parts in self.parts.items()}

    def _add(self, prefix: str, logits: Tensor, y: Tensor) -> None:
        self._append(f"{prefix}/prediction", logits.argmax(1))
        if self.classes > 5:
            self._append(f"{prefix}/top5", (logits.topk(5, dim=1).indices == y[:, None]).any(1))

    def _append(self, key: str, values: Tensor) -> None:
        self.parts.setdefault(key, []).append(values.cpu().numpy())


def _entry(
    columns: dict[str, np.ndarray], prefix: str, attack: Attack, victim: str, cost: dict[str, float], examples: int
) -> dict[str, Any]:
    """One attack's part of ``results.json``."""
    used = attack if victim == WHITE_BOX else attack.exhaustive()
    entry = accuracy(columns[f"{prefix}/prediction"] == columns["y"], columns.get(f"{prefix}/top5"))
    if "top5" in entry:
        entry["top5_is_upper_bound"] = used != used.exhaustive()  # the search stopped as soon as the first guess was wrong
    return entry | {
        "parameters": describe(used),
        "largest_distance": float(columns[f"{prefix}/distance"].max()),
        "gradient_evaluations_per_example": cost["gradients"] / examples,
        "seconds": round(cost["seconds"], 3),
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
