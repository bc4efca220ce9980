"""One attack on one network, run on a batch and verified: the unit that an evaluation is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from logitpair.attacks import Attack, AttackResult, Unperturbed
from logitpair.errors import InputError
from logitpair.evaluation.adversarial_cache import AdversarialImages
from logitpair.evaluation.cached_logits import CachedLogits
from logitpair.evaluation.resumable import Chunk
from logitpair.models.inference import logits_in_eval, predict
from logitpair.rng import ExampleStreams, derive_seed
from logitpair.runtime import clock
from logitpair.storage.class_path import describe
from logitpair.storage.ledger import FACTS, gallery
from logitpair.storage.model_fingerprint import code_of, fingerprint
from logitpair.storage.results import NO_CLASS
from logitpair.threat import Threat
from logitpair.validate import at_least, check_labels, kind_of

WHITE_BOX = "white_box"
CURVE = "curve"
OWN = "logitpair"  # the package whose code its version tells
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
        right = prediction == y  # of equal logits argmax and topk name different ones
        return cls(right, None if within_five is None else (within_five | right) & (prediction != NO_CLASS))

    def __and__(self, other: Correctness) -> Correctness:
        top5 = None if self.top5 is None or other.top5 is None else self.top5 & other.top5
        return Correctness(self.top1 & other.top1, top5)


@dataclass(frozen=True)
class Batch:
    """Images and labels, their positions in the data, and the model's logits on the images; with what was found so far.

    That is in the beginning the images themselves, and for a run that searches on what others left what they found. The distance is in the
    norm of the attack that found the image.
    """

    x: Tensor
    y: Tensor
    position: Tensor
    logits: Tensor
    x_adv: Tensor
    distance: Tensor
    prediction: Tensor
    correct: Correctness

    @classmethod
    def clean(cls, x: Tensor, y: Tensor, position: Tensor, logits: Tensor) -> Batch:
        """Before any attack; the logits are finite."""
        return cls(x, y, position, logits, x, x.new_zeros(len(x)), logits.argmax(1), Correctness.of(logits, y))


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
    in_turn: bool = False  # whether it searches only what the runs of its setting before it left
    tells_top5: bool = True  # whether top-5 is asked for, and attacked to the end where the attack does not stop early

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

    @cached_property
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
            **foreign_code(self.attack),
        }

    def run(self, model: nn.Module, batch: Batch, network: CachedLogits, images: AdversarialImages | None) -> tuple[Batch, Chunk]:
        """Attack the batch, verify on ``model`` by a fresh forward, and return what is found by now, and the columns."""
        began = clock.now(batch.x.device)
        rows = self.attackable(batch)
        found = self.find(network.on(rows), batch.x[rows], batch.y[rows], batch.position[rows.cpu()], images)
        left = self.verified(model, batch, rows, found)
        seconds = clock.now(batch.x.device) - began
        columns = {f"{self.column}/{name}": values for name, values in self.columns(batch, rows, found, left).items()}
        if self.setting == WHITE_BOX:
            columns[f"gallery/{self.column}"] = gallery(left.x_adv, batch.position)
        astray = int(found.x_adv.isnan().flatten(1).any(1).sum())
        return left, {**columns, f"{FACTS}seconds/{self.column}": seconds, f"{FACTS}astray/{self.column}": astray}

    def attackable(self, batch: Batch) -> Tensor:
        """Rows of the batch that are attacked: those still correct; all where the network is a source, which does not classify for them."""
        attacked = batch.correct.top1
        if not self.is_white_box:
            attacked = torch.ones_like(attacked)
        elif self.tells_top5 and not self.stops_early and batch.correct.top5 is not None:
            attacked = attacked | batch.correct.top5
        if self.examples is not None:
            attacked = attacked & torch.isin(batch.position, torch.tensor(self.examples)).to(attacked.device)
        return attacked.nonzero().squeeze(1)

    def attacked(self, examples: int) -> list[int]:
        """The rows of its columns of so many examples that belong to those that are attacked."""
        return [row for row in (range(examples) if self.examples is None else self.examples) if row < examples]

    def find(self, network: CachedLogits, x: Tensor, y: Tensor, position: Tensor, images: AdversarialImages | None) -> AttackResult:
        """What the attack finds for these examples, each with random numbers of its own, or what was kept of it."""
        if images and not self.is_white_box and (kept := images.read(self.cache_key, self.attack.threat, x, y, position)):
            return kept
        hits = network.hits
        try:
            found = self.attack.find_unchecked(network, x, y, ExampleStreams(self.seed, position))
        except InputError as error:
            raise InputError(f"attacks: {self.name}: {error}") from error
        found = replace(found, forwards=(found.forwards - (network.hits - hits)).clamp(min=0))  # these cost nothing
        if images and self.setting != CURVE and not (self.is_white_box and images.sources_only):
            images.write(self.cache_key, x, y, position, found)
        return found

    def verified(self, model: nn.Module, batch: Batch, rows: Tensor, found: AttackResult) -> Batch:
        """What is found by now, with what the attack ``found`` for these ``rows``: in the threat model, and by a fresh forward."""
        clean, was = batch.x[rows], batch.correct.top1
        x_adv = or_unperturbed(found.x_adv, clean, self.attack.threat)
        logits = batch.logits.index_put((rows,), logits_in_eval(model, x_adv)) if len(rows) else batch.logits
        new = ~(~was & (batch.logits.argmax(1) == batch.y))[rows]  # what an attack before this one broke is kept as that left it
        return replace(
            batch,
            x_adv=batch.x_adv.index_put((rows[new],), x_adv[new]),
            distance=batch.distance.index_put((rows[new],), self.attack.threat.distance(x_adv, clean)[new]),
            prediction=torch.where(was, predict(logits), batch.prediction),
            correct=batch.correct & Correctness.of(logits, batch.y),  # misclassified when clean counts as broken, whatever the attack did
        )

    def columns(self, batch: Batch, rows: Tensor, found: AttackResult, left: Batch) -> dict[str, Tensor]:
        """The ledger's columns of the batch, of which ``rows`` were attacked and came to what is ``left``."""

        def on_all(values: Tensor, others: float) -> Tensor:
            return torch.full((len(batch.y),), others, dtype=values.dtype, device=batch.y.device).index_put((rows,), values)

        columns = {"prediction": left.prediction, "distance": left.distance}
        columns |= {name: on_all(getattr(found, name).double(), 0) for name in ("gradients", "forwards")}
        if self.tells_top5 and left.correct.top5 is not None:
            columns["top5"] = left.correct.top5
        if self.is_white_box:  # restart and step of a source's images say nothing about the model
            broken = batch.correct.top1 & (left.prediction != batch.y)
            columns |= {name: on_all(getattr(found, name), UNKNOWN).where(broken, UNKNOWN) for name in ("restart", "step")}
        return columns


def or_unperturbed(x_adv: Tensor, x: Tensor, threat: Threat) -> Tensor:
    """``x_adv`` where it lies in the ball and the box, else ``x``, as which an image outside the threat model counts."""
    return torch.where(threat.contains(x_adv, x)[:, None, None, None], x_adv, x)


def foreign_code(attack: Attack) -> dict[str, str]:
    """A hash of the code of an attack, its loss and the like, as far as the package's version does not tell it; else nothing.

    It is as wide as ``code_of``: an attack that looks at a counter in its module is another one once that has counted.
    """
    foreign = [part for part in _parts(attack) if str(getattr(part, "__module__", OWN)).partition(".")[0] not in (OWN, "torch")]
    return {"code": hashlib.sha256(repr(code_of(*foreign, but_not=OWN)).encode()).hexdigest()} if foreign else {}


def _parts(thing: Any) -> list[Any]:
    """The class of a dataclass, and what its fields hold; all else as it is."""
    if not is_dataclass(thing) or isinstance(thing, type):
        return [thing]
    return [type(thing), *(part for field in fields(thing) for part in _parts(getattr(thing, field.name)))]


def plan(
    model: nn.Module,
    attacks: Mapping[str, Attack],
    sources: Mapping[str, nn.Module],
    curve: Iterable[float],
    curve_examples: tuple[int, ...] | None,
    seed: int,
    data: str | None,
    worst_case_only: bool,
) -> list[AttackRun]:
    """Every attack on the model and on every source, and the first one at each radius of the curve, on the examples at these positions.

    What is broken within a radius is broken within every larger one, by the same image, and not attacked there.
    """
    if not attacks:
        raise InputError("attacks is empty; it must name at least one attack")
    try:
        radii = list(curve)  # an array has no truth value, and a generator is read once
    except TypeError as error:
        raise InputError(f"curve: must be a list of radii, such as [0.1, 0.2], not {kind_of(curve)}") from error
    for eps in radii:
        at_least("curve", eps, 0)
    first, attack = next(iter(attacks.items()))
    if radii and not attack.threat.eps:
        raise InputError(f"curve: attack '{first}' has eps 0 and cannot be scaled; accepted: an attack with eps above 0, or no curve")
    runs: list[AttackRun] = []
    for setting, network in {WHITE_BOX: model, **sources}.items():
        weights = fingerprint(network)
        for name, one in attacks.items():
            one = one if setting == WHITE_BOX else one.without_early_stop()
            runs.append(AttackRun(setting, name, network, weights, one, derive_seed(seed, setting, name), data))
    if worst_case_only:
        white_box = [run for run in runs if run.setting == WHITE_BOX]
        tells_top5 = not any(run.stops_early for run in white_box)  # or those stopped would be searched on for it
        runs[: len(white_box)] = [replace(run, in_turn=True, tells_top5=tells_top5) for run in white_box]
    for eps in sorted(radii):
        scaled = attack.scaled(eps / attack.threat.eps) if eps else Unperturbed()
        of_radius = AttackRun(CURVE, repr(float(eps)), model, runs[0].weights, scaled, runs[0].seed, data, curve_examples)
        runs.append(replace(of_radius, in_turn=True, tells_top5=False))
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
    batch = Batch.clean(x, y, position, logits)
    chunk: dict[str, Tensor | float] = {"y": y, "clean/prediction": batch.prediction}
    if batch.correct.top5 is not None:
        chunk["clean/top5"] = batch.correct.top5
    chunk |= {"gallery/x": gallery(x, position), f"{FACTS}classes": logits.shape[1]}
    networks = {run.setting: CachedLogits(run.network, x, logits if run.is_white_box else None) for run in runs}
    left = dict.fromkeys(networks, batch)  # for runs in turn
    for run in runs:
        found, columns = run.run(model, left[run.setting], networks[run.setting], images)
        chunk |= columns
        left[run.setting] = found if run.in_turn else batch
    return chunk
