"""One attack on one network, tried on a batch and verified: the unit that an evaluation is made of."""

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
from logitpair.models.inference import compute_logits
from logitpair.rng import ExampleStreams, derive_seed
from logitpair.storage.class_path import describe
from logitpair.storage.ledger import LedgerChunk
from logitpair.storage.model_fingerprint import fingerprint
from logitpair.storage.schema1 import NO_CLASS
from logitpair.validate import at_least, check_batch, check_labels

WHITE_BOX = "white_box"
CURVE = "curve"
RESERVED = (WHITE_BOX, CURVE, "clean", "first", "gallery", "facts", "position")
NONE = -1  # restart and step of an example that stands, or of an attack that cannot tell


@dataclass(frozen=True)
class AttackRun:
    """One attack on one victim.

    Args:
        victim: ``white_box`` for the model itself, ``curve`` for it at another radius, or a source's name.
        name: the attack's.
        network: what the attack looks at.
        weights: the network's ``fingerprint``.
        attack: what is done.
        seed: of its random numbers, with each example's position.
        data: what the examples are (``data.fingerprint``), if known.
        examples: it is tried on so many, from the first; None for all.
    """

    victim: str
    name: str
    network: nn.Module
    weights: str
    attack: Attack
    seed: int
    data: str | None = None
    examples: int | None = None

    @property
    def key(self) -> str:
        """The prefix of its columns in the ledger."""
        return f"{self.victim}/{self.name}"

    @property
    def stops_early(self) -> bool:
        """Whether the search ends once the first guess is wrong, so that top-5 is not attacked to the end."""
        return self.attack != self.attack.without_early_stop()

    @property
    def is_white_box(self) -> bool:
        """Whether the attack looks at the very model that is evaluated."""
        return self.victim in (WHITE_BOX, CURVE)

    @property
    def made_by(self) -> dict[str, Any]:
        """All that determines what is found for an example, in plain values."""
        return {
            "victim": self.victim,
            "attack": self.name,
            "parameters": describe(self.attack),
            "weights": self.weights,
            "seed": self.seed,
            "data": self.data,
            "examples": self.examples,
            "version": version("logitpair"),
        }

    def chosen(self, clean: Correctness, position: Tensor) -> Tensor:
        """Rows of the batch that are attacked: those that can still be broken; against a source, which knows nothing of that, all."""
        standing = clean.top1 if self.stops_early or clean.top5 is None else clean.top1 | clean.top5
        if not self.is_white_box:
            standing = torch.ones_like(standing)
        if self.examples is not None:
            standing = standing & (position.to(standing.device) < self.examples)
        return standing.nonzero().squeeze(1)

    def search(self, x: Tensor, y: Tensor, position: Tensor) -> AttackResult:
        """Attack these examples, each with random numbers of its own.

        Raises:
            InputError: what the attack refuses, such as a loss that is none, with its name.
        """
        try:
            return self.attack.find(self.network, x, y, generator=ExampleStreams(self.seed, position))
        except InputError as error:
            raise InputError(f"attacks: {self.name}: {error}") from error

    def run(
        self, model: nn.Module, x: Tensor, y: Tensor, position: Tensor, clean: Tensor, part: LedgerChunk, images: AdversarialImages | None
    ) -> None:
        """Attack, verify on ``model`` by a fresh forward, and write the columns.

        Args:
            model: what the images are tried on.
            x, y: the batch.
            position: of its examples in the data.
            clean: the model's logits on ``x``.
            part: gets the columns.
            images: where adversarial images are kept, those made against a source being taken from there; None to keep none.
        """
        began = time.perf_counter()
        before = Correctness.of(clean, y)
        rows = self.chosen(before, position)
        own, at = x[rows], position[rows.cpu()]
        found = images.read(self.made_by, self.attack.threat, own, y[rows], at) if images and not self.is_white_box else None
        if found is None:
            found = self.search(own, y[rows], at)
            if images and self.victim != CURVE:
                images.write(self.made_by, own, y[rows], at, found)
        inside = self.attack.threat.contains(found.x_adv, own)
        x_adv = x.clone()
        x_adv[rows[inside]] = found.x_adv[inside]  # what leaves the threat model is put back
        attacked = compute_logits(model, x_adv)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        part.facts[f"seconds/{self.key}"] = time.perf_counter() - began

        # an image that needs no attack to be misclassified stays broken, whatever the attack made of it
        after = before & Correctness.of(attacked, y)
        prediction = torch.where(before.top1, attacked.argmax(1), clean.argmax(1))
        prediction = prediction.where(after.top1 | (prediction != y), NO_CLASS)
        part.add(f"{self.key}/prediction", prediction)
        if after.top5 is not None:
            part.add(f"{self.key}/top5", after.top5)
        part.add(f"{self.key}/distance", self.attack.threat.distance(x_adv, x))

        def spread(values: Tensor, elsewhere: float) -> Tensor:
            return torch.full((len(x),), elsewhere, dtype=values.dtype, device=x.device).index_put((rows,), values)

        part.add(f"{self.key}/gradients", spread(found.gradients.double(), 0))
        part.add(f"{self.key}/forwards", spread(found.forwards.double(), 0))
        if self.is_white_box:  # how a source was broken says nothing of the model
            broken = before.top1 & (prediction != y)
            part.add(f"{self.key}/restart", spread(found.restart, NONE).where(broken, NONE))
            part.add(f"{self.key}/step", spread(found.step, NONE).where(broken, NONE))
        if self.victim == WHITE_BOX:
            part.add_images(self.key, x_adv)


@dataclass(frozen=True)
class Correctness:
    """Which examples of a batch are classified right: by the first guess and, with more than five classes, by one of five."""

    top1: Tensor
    top5: Tensor | None

    @classmethod
    def of(cls, logits: Tensor, y: Tensor) -> Correctness:
        """Those of these logits ``[batch, classes]``."""
        finite = torch.isfinite(logits).all(1)  # what is no number is no answer either
        top5 = finite & (logits.topk(5, dim=1).indices == y[:, None]).any(1) if logits.shape[1] > 5 else None
        return cls(finite & (logits.argmax(1) == y), top5)

    def __and__(self, other: Correctness) -> Correctness:
        top5 = None if self.top5 is None or other.top5 is None else self.top5 & other.top5
        return Correctness(self.top1 & other.top1, top5)


def plan(
    model: nn.Module,
    attacks: Mapping[str, Attack],
    sources: Mapping[str, nn.Module],
    curve: Sequence[float],
    curve_examples: int,
    seed: int,
    data: str | None,
) -> list[AttackRun]:
    """Every attack on the model and on every source, and the first one at each radius of the curve.

    Raises:
        InputError: for no attacks, a source with a name that the ledger uses, or a curve that cannot be drawn.
    """
    if not attacks:
        raise InputError("attacks is empty; it must name at least one attack")
    for name in sources:
        check_name("sources", name)
    for eps in curve:
        at_least("curve", eps, 0)
    first, attack = next(iter(attacks.items()))
    if curve and not attack.threat.eps:
        raise InputError(f"curve: attack '{first}' has eps 0 and cannot be scaled; accepted: an attack with eps above 0, or no curve")

    def seeded(victim: str, name: str) -> int:
        return derive_seed(seed, victim, name)

    own = fingerprint(model)
    trials = [AttackRun(WHITE_BOX, name, model, own, attack, seeded(WHITE_BOX, name), data) for name, attack in attacks.items()]
    for source, network in sources.items():
        weights = fingerprint(network)
        for name, attack in attacks.items():
            trials.append(AttackRun(source, name, network, weights, attack.without_early_stop(), seeded(source, name), data))
    for eps in curve:
        scaled = attack.scaled(eps / attack.threat.eps) if eps else Unperturbed()
        trials.append(AttackRun(CURVE, repr(float(eps)), model, own, scaled, seeded(WHITE_BOX, first), data, curve_examples))
    return trials


def check_name(option: str, name: str) -> None:
    """Refuse a name of a source that could not be told from the ledger's own columns, or that is no name of a folder.

    Raises:
        InputError: naming the option.
    """
    if not name or name in RESERVED or Path(name).name != name or name == "..":
        raise InputError(f"{option}: '{name}' cannot be a source's name; accepted: any without / but {', '.join(RESERVED)}")


def attack_batch(
    model: nn.Module,
    trials: Sequence[AttackRun],
    x: Tensor,
    y: Tensor,
    position: Tensor,
    images: AdversarialImages | None,
    of_sources: AdversarialImages | None,
) -> LedgerChunk:
    """Everything that happens to one batch; what is found is kept in ``images``, or ``of_sources`` where it was made against one.

    Raises:
        InputError: for images, labels or logits that are none.
    """
    check_batch(x, y)
    clean = compute_logits(model, x)
    check_labels(y, clean.shape[1])
    if not bool(torch.isfinite(clean).all()):
        raise InputError(f"model: logits of {int((~torch.isfinite(clean).all(1)).sum())} of {len(x)} images are not finite")
    part = LedgerChunk(position)
    hits = Correctness.of(clean, y)
    part.add("y", y)
    part.add("clean/prediction", clean.argmax(1))
    if hits.top5 is not None:
        part.add("clean/top5", hits.top5)
    part.add_images("x", x)
    part.facts["classes"] = clean.shape[1]
    for trial in trials:
        trial.run(model, x, y, position, clean, part, images if trial.is_white_box else of_sources)
    return part
