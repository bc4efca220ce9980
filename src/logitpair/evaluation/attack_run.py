"""One attack on one network, run on a batch and verified: the unit that an evaluation is made of."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from logitpair.attacks import Attack, AttackResult, Unperturbed
from logitpair.errors import InputError
from logitpair.evaluation.adversarial_cache import AdversarialImages
from logitpair.evaluation.resumable import Chunk
from logitpair.models.inference import logits_in_eval, predict
from logitpair.rng import ExampleStreams, derive_seed
from logitpair.storage.class_path import describe
from logitpair.storage.ledger import FACTS, gallery
from logitpair.storage.model_fingerprint import fingerprint
from logitpair.storage.results import NO_CLASS
from logitpair.validate import at_least, check_labels

WHITE_BOX = "white_box"
CURVE = "curve"
RESERVED_NAMES = (WHITE_BOX, CURVE, "clean", "first", "gallery", "facts", "position")  # that the ledger's columns begin with
UNKNOWN = -1  # restart and step of an example that is still correct, or of an attack that does not know them


@dataclass(frozen=True)
class Correctness:
    """Which examples of a batch are classified right: by the largest logit and, with more than five classes, by one of five."""

    top1: Tensor
    top5: Tensor | None

    @classmethod
    def of(cls, logits: Tensor, y: Tensor) -> Correctness:
        """Those of these logits ``[batch, classes]``; non-finite ones count as misclassified."""
        prediction = predict(logits)
        within_five = (logits.topk(5, dim=1).indices == y[:, None]).any(1) if logits.shape[1] > 5 else None
        return cls(prediction == y, None if within_five is None else within_five & (prediction != NO_CLASS))

    def __and__(self, other: Correctness) -> Correctness:
        top5 = None if self.top5 is None or other.top5 is None else self.top5 & other.top5
        return Correctness(self.top1 & other.top1, top5)


@dataclass(frozen=True)
class CleanBatch:
    """Images and labels, their positions in the data, and how the model classifies them unperturbed."""

    x: Tensor
    y: Tensor
    position: Tensor
    prediction: Tensor
    correct: Correctness


@dataclass(frozen=True)
class AttackRun:
    """One attack on one network."""

    setting: str  # white_box for the model itself, curve for it at another radius, or a source's name
    name: str  # of the attack
    network: nn.Module  # that the attack searches on
    weights: str  # the network's fingerprint
    attack: Attack
    seed: int  # of its random numbers, with each example's position
    data: str | None = None  # the fingerprint of the examples, if known
    examples: tuple[int, ...] | None = None  # positions of those that are attacked; None for all

    @property
    def column(self) -> str:
        """The prefix of its columns in the ledger."""
        return f"{self.setting}/{self.name}"

    @property
    def stops_early(self) -> bool:
        """Whether the search ends once the first guess is wrong, so that top-5 is not attacked to the end."""
        return self.attack != self.attack.without_early_stop()

    @property
    def is_white_box(self) -> bool:
        """Whether the attack searches on the very model that is evaluated."""
        return self.setting in (WHITE_BOX, CURVE)

    @property
    def cache_key(self) -> dict[str, Any]:
        """All that determines what is found for an example, in plain values."""
        return {
            "setting": self.setting,
            "attack": self.name,
            "parameters": describe(self.attack),
            "weights": self.weights,
            "seed": self.seed,
            "data": self.data,
            "examples": self.examples,
            "version": version("logitpair"),
        }

    def run(self, model: nn.Module, batch: CleanBatch, images: AdversarialImages | None) -> Chunk:
        """Attack the batch, verify on ``model`` by a fresh forward, and return the columns."""
        began = time.perf_counter()
        rows = self.attackable(batch)
        clean = batch.x[rows]
        found = self.find(clean, batch.y[rows], batch.position[rows.cpu()], images)
        inside = self.attack.threat.contains(found.x_adv, clean)
        x_adv = batch.x.clone()
        x_adv[rows[inside]] = found.x_adv[inside]  # an image outside the threat model counts as unperturbed
        logits = logits_in_eval(model, x_adv)
        if x_adv.is_cuda:
            torch.cuda.synchronize(x_adv.device)
        seconds = time.perf_counter() - began
        columns = {f"{self.column}/{name}": values for name, values in self.columns(batch, rows, found, x_adv, logits).items()}
        if self.setting == WHITE_BOX:
            columns[f"gallery/{self.column}"] = gallery(x_adv, batch.position)
        return {**columns, f"{FACTS}seconds/{self.column}": seconds}

    def attackable(self, batch: CleanBatch) -> Tensor:
        """Rows of the batch that are attacked: those still correct; all where the network is a source, which does not classify for them."""
        attacked = batch.correct.top1
        if not self.is_white_box:
            attacked = torch.ones_like(attacked)
        elif not self.stops_early and batch.correct.top5 is not None:
            attacked = attacked | batch.correct.top5
        if self.examples is not None:
            attacked = attacked & torch.isin(batch.position, torch.tensor(self.examples)).to(attacked.device)
        return attacked.nonzero().squeeze(1)

    def attacked(self, examples: int) -> list[int]:
        """The rows of its columns of so many examples that belong to those that are attacked."""
        return [row for row in (range(examples) if self.examples is None else self.examples) if row < examples]

    def find(self, x: Tensor, y: Tensor, position: Tensor, images: AdversarialImages | None) -> AttackResult:
        """What the attack finds for these examples, each with random numbers of its own, or what was kept of it."""
        if images and not self.is_white_box and (kept := images.read(self.cache_key, self.attack.threat, x, y, position)):
            return kept
        try:
            found = self.attack.find_unchecked(self.network, x, y, ExampleStreams(self.seed, position))
        except InputError as error:
            raise InputError(f"attacks: {self.name}: {error}") from error
        if images and self.setting != CURVE and not (self.is_white_box and images.sources_only):
            images.write(self.cache_key, x, y, position, found)
        return found

    def columns(self, batch: CleanBatch, rows: Tensor, found: AttackResult, x_adv: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """The ledger's columns of the batch, of which ``rows`` were attacked, by the logits of ``x_adv``."""
        correct = batch.correct & Correctness.of(logits, batch.y)  # misclassified when clean counts as broken, whatever the attack did
        prediction = torch.where(batch.correct.top1, predict(logits), batch.prediction)

        def on_all(values: Tensor, others: float) -> Tensor:
            return torch.full((len(x_adv),), others, dtype=values.dtype, device=x_adv.device).index_put((rows,), values)

        columns = {"prediction": prediction, "distance": self.attack.threat.distance(x_adv, batch.x)}
        columns |= {name: on_all(getattr(found, name).double(), 0) for name in ("gradients", "forwards")}
        if correct.top5 is not None:
            columns["top5"] = correct.top5
        if self.is_white_box:  # restart and step of a source's images say nothing about the model
            broken = batch.correct.top1 & (prediction != batch.y)
            columns |= {name: on_all(getattr(found, name), UNKNOWN).where(broken, UNKNOWN) for name in ("restart", "step")}
        return columns


def plan(
    model: nn.Module,
    attacks: Mapping[str, Attack],
    sources: Mapping[str, nn.Module],
    curve: Sequence[float],
    curve_examples: tuple[int, ...] | None,
    seed: int,
    data: str | None,
) -> list[AttackRun]:
    """Every attack on the model and on every source, and the first one at each radius of the curve, on the examples at these positions."""
    if not attacks:
        raise InputError("attacks is empty; it must name at least one attack")
    for eps in curve:
        at_least("curve", eps, 0)
    first, attack = next(iter(attacks.items()))
    if curve and not attack.threat.eps:
        raise InputError(f"curve: attack '{first}' has eps 0 and cannot be scaled; accepted: an attack with eps above 0, or no curve")
    runs: list[AttackRun] = []
    for setting, network in {WHITE_BOX: model, **sources}.items():
        weights = fingerprint(network)
        for name, one in attacks.items():
            one = one if setting == WHITE_BOX else one.without_early_stop()
            runs.append(AttackRun(setting, name, network, weights, one, derive_seed(seed, setting, name), data))
    for eps in curve:
        scaled = attack.scaled(eps / attack.threat.eps) if eps else Unperturbed()
        runs.append(AttackRun(CURVE, repr(float(eps)), model, runs[0].weights, scaled, runs[0].seed, data, curve_examples))
    return runs


def check_name(option: str, name: object, reserved: Sequence[str] = RESERVED_NAMES) -> None:
    """Refuse a name that cannot be a folder's, or, for a source, that the ledger's own columns begin with."""
    if not isinstance(name, str) or not name or name in reserved or Path(name).name != name or name == "..":
        accepted = " but ".join(filter(None, ("any without /", ", ".join(reserved))))
        raise InputError(f"{option}: '{name}' cannot be a name; accepted: {accepted}")


def attack_batch(
    model: nn.Module, runs: Sequence[AttackRun], x: Tensor, y: Tensor, position: Tensor, images: AdversarialImages | None
) -> Chunk:
    """Classify a batch of checked images and run every attack on it."""
    logits = logits_in_eval(model, x)
    check_labels(y, logits.shape[1])
    if not bool(torch.isfinite(logits).all()):
        raise InputError(f"model: logits of {int((~torch.isfinite(logits).all(1)).sum())} of {len(x)} images are not finite")
    batch = CleanBatch(x, y, position, logits.argmax(1), Correctness.of(logits, y))
    chunk: dict[str, Tensor | float] = {"y": y, "clean/prediction": batch.prediction}
    if batch.correct.top5 is not None:
        chunk["clean/top5"] = batch.correct.top5
    chunk |= {"gallery/x": gallery(x, position), f"{FACTS}classes": logits.shape[1]}
    for run in runs:
        chunk |= run.run(model, batch, images)
    return chunk
