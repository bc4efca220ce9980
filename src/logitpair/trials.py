"""One attack on one network, tried on a batch and verified: the unit that an evaluation is made of."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from logitpair.attacks import Attack, Unperturbed
from logitpair.attacks.base import logits_of
from logitpair.errors import InputError
from logitpair.ledger import ADVERSARIAL, Part
from logitpair.random import ExampleStreams, derive_seed
from logitpair.validate import at_least, check_batch, check_labels

WHITE_BOX = "white_box"
CURVE = "curve"
RESERVED = (WHITE_BOX, CURVE, "clean", "gallery")


@dataclass(frozen=True)
class Trial:
    """One attack on one victim.

    Args:
        victim: ``white_box`` for the model itself, ``curve`` for it at another radius, or a source's name.
        name: the attack's.
        network: what the attack looks at.
        attack: what is done.
        seed: of its random numbers, with each example's position.
        examples: it is tried on so many, from the first; None for all.
    """

    victim: str
    name: str
    network: nn.Module
    attack: Attack
    seed: int
    examples: int | None = None

    @property
    def key(self) -> str:
        """The prefix of its columns in the ledger."""
        return f"{self.victim}/{self.name}"

    @property
    def stops_early(self) -> bool:
        """Whether the search ends once the first guess is wrong, so that top-5 is not attacked to the end."""
        return self.attack != self.attack.exhaustive()

    def run(self, model: nn.Module, x: Tensor, y: Tensor, position: Tensor, clean: Tensor, part: Part, keep: bool) -> None:
        """Attack the images that still can be broken, verify on ``model`` by a fresh forward, and write the columns.

        Args:
            model: what the images are tried on.
            x, y: the batch.
            position: of its examples in the data.
            clean: the model's logits on ``x``.
            part: gets the columns.
            keep: whether the adversarial images become one of them.
        """
        began = time.perf_counter()
        before = Hits.of(clean, y)
        standing = before.top1 if self.stops_early or before.top5 is None else before.top1 | before.top5
        if self.examples is not None:
            standing = standing & (position.to(x.device) < self.examples)
        chosen = standing.nonzero().squeeze(1)
        streams = ExampleStreams(self.seed, position[chosen.cpu()])
        found = self.attack.find(self.network, x[chosen], y[chosen], generator=streams)
        inside = self.attack.threat.contains(found.x_adv, x[chosen])
        x_adv = x.clone()
        x_adv[chosen[inside]] = found.x_adv[inside]  # what leaves the threat model is put back
        attacked = logits_of(model, x_adv)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        part.facts[f"seconds/{self.key}"] = time.perf_counter() - began

        # an image that needs no attack to be misclassified stays broken, whatever the attack made of it
        part.add(f"{self.key}/prediction", torch.where(before.top1, attacked.argmax(1), clean.argmax(1)))
        after = before & Hits.of(attacked, y)
        if after.top5 is not None:
            part.add(f"{self.key}/top5", after.top5)
        part.add(f"{self.key}/distance", self.attack.threat.distance(x_adv, x))
        scatter = [("gradients", found.gradients, 0.0), ("forwards", found.forwards, 0.0)]
        if self.victim == WHITE_BOX:  # when a source was broken says nothing of the model
            scatter += [("restart", found.restart, -1), ("step", found.step, -1)]
            part.add_images(self.key, x_adv)
        for column, values, nothing in scatter:
            part.add(
                f"{self.key}/{column}", torch.full((len(x),), nothing, dtype=values.dtype, device=x.device).index_put((chosen,), values)
            )
        if keep and self.victim != CURVE:
            part.add(ADVERSARIAL + self.key, x_adv)


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


def plan(
    model: nn.Module,
    attacks: Mapping[str, Attack],
    sources: Mapping[str, nn.Module],
    curve: Sequence[float],
    curve_examples: int,
    seed: int,
) -> list[Trial]:
    """Every attack on the model and on every source, and the first one at each radius of the curve.

    Raises:
        InputError: for no attacks, a source with a name that the ledger uses, or a curve that cannot be drawn.
    """
    if not attacks:
        raise InputError("attacks is empty; it must name at least one attack")
    for name in sources:
        if name in RESERVED:
            raise InputError(f"sources: '{name}' is a name of the ledger's own; accepted: any but {', '.join(RESERVED)}")
    for eps in curve:
        at_least("curve", eps, 0)
    first, attack = next(iter(attacks.items()))
    if curve and not attack.threat.eps:
        raise InputError(f"curve: attack '{first}' has eps 0 and cannot be scaled; accepted: an attack with eps above 0, or no curve")
    trials = [Trial(WHITE_BOX, name, model, attack, derive_seed(seed, WHITE_BOX, name)) for name, attack in attacks.items()]
    for source, network in sources.items():
        trials += [Trial(source, name, network, attack.exhaustive(), derive_seed(seed, source, name)) for name, attack in attacks.items()]
    for eps in curve:
        scaled = attack.scaled(eps / attack.threat.eps) if eps else Unperturbed()
        trials.append(Trial(CURVE, repr(float(eps)), model, scaled, derive_seed(seed, WHITE_BOX, first), curve_examples))
    return trials


def attack_batch(model: nn.Module, trials: Sequence[Trial], x: Tensor, y: Tensor, position: Tensor, keep: bool) -> Part:
    """Everything that happens to one batch.

    Raises:
        InputError: for images, labels or logits that are none.
    """
    check_batch(x, y)
    clean = logits_of(model, x)
    check_labels(y, clean.shape[1])
    part = Part(position)
    hits = Hits.of(clean, y)
    part.add("y", y)
    part.add("clean/prediction", clean.argmax(1))
    if hits.top5 is not None:
        part.add("clean/top5", hits.top5)
    part.add_images("x", x)
    part.facts["classes"] = clean.shape[1]
    for trial in trials:
        trial.run(model, x, y, position, clean, part, keep)
    return part
