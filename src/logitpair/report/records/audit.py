"""What the ``results.json`` and ``ledger.npz`` of an audit say, as typed values; reading them checks them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logitpair.report.records.evaluation import Accuracy, radius_of, read_network
from logitpair.report.records.gallery import Example, read_class_names, read_gallery

VERDICTS = ("trustworthy", "overestimated", "inconclusive")
Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Protocol:
    """The attack whose number is judged.

    Args:
        accuracy: under it.
        parameters: of the attack.
        claimed: whether an evaluation gave the number; else the audit measured it, on its first images.
        gradients: evaluations per image, where known.
    """

    accuracy: Accuracy
    parameters: Any
    claimed: bool
    gradients: float | None

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Protocol:
        """The ``protocol`` of an audit.

        Raises:
            ValueError: if its numbers cannot be (``KeyError`` or ``TypeError`` where they are missing or no numbers).
        """
        gradients = entry.get("gradient_evaluations_per_example")
        spent = None if gradients is None else _at_least_0("protocol: gradients", gradients)
        return cls(Accuracy.read(entry), entry["parameters"], not entry["measured"], spent)


@dataclass(frozen=True)
class Check:
    """One check: what was measured, whether it passed, what to do where it did not, and whether it then forbids any other verdict."""

    name: str
    passed: bool
    evidence: str
    advice: str
    blocks: bool

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Check:
        """An entry of ``findings``.

        Raises:
            ValueError: where ``passed`` is neither true nor false (``KeyError`` or ``TypeError`` where something is missing).
        """
        if not isinstance(entry["passed"], bool):
            raise ValueError(f"check {entry['check']}: passed is {entry['passed']!r}")
        return cls(str(entry["check"]), entry["passed"], str(entry["evidence"]), str(entry["advice"]), bool(entry.get("blocks")))


@dataclass(frozen=True)
class Round:
    """One search over the images that stood: its name, how many it tried and broke, how many then stood, gradients an image by then."""

    arm: str
    attacked: int
    broken: int
    standing: int
    gradients: float

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Round:
        """An entry of ``rounds``.

        Raises:
            ValueError: if the counts cannot be (``KeyError`` or ``TypeError`` where they are missing or no numbers).
        """
        attacked, broken, standing = (int(entry[key]) for key in ("attacked", "broken", "standing"))
        if not 0 <= broken <= attacked or standing < 0:
            raise ValueError(f"a round broke {broken} of {attacked} images and left {standing}")
        return cls(str(entry["arm"]), attacked, broken, standing, _at_least_0("gradients of a round", entry["gradients_per_example"]))


@dataclass(frozen=True)
class Audit:
    """The audit of a run.

    Args:
        eps: the radius, where the threat model has one.
        robust: accuracy that the audit left.
        robust_8_bit: the same for images saved with 8 bits.
        curve: radius, accuracy and number of images of the protocol's attack on a small sample.
        margins: the lead of the best wrong class at the end of each start of the protocol's attack and of a few more,
            ``[starts, images]``; above 0: broken.
        surfaces: the same on a plane around some images, ``[images, rows, columns]``, and which images they are.
        budget: gradients an image could have cost.
        gradients: evaluations per image that the searches spent.
        network: the options that a network of one's own and its images were given by; empty for a run.
        others: as ``docs/results.md`` explains the keys of their names.
    """

    verdict: str
    reason: str
    data: str | None
    class_names: tuple[str, ...]
    examples: int
    eps: float | None
    clean: Accuracy
    protocol: Protocol
    robust: Accuracy
    robust_8_bit: Accuracy
    checks: tuple[Check, ...]
    rounds: tuple[Round, ...]
    stopped: str
    curve: tuple[tuple[float, float, int], ...]
    margins: Numbers
    surfaces: Numbers
    surface_positions: tuple[int, ...]
    gallery: tuple[Example, ...]
    sources: Mapping[str, Mapping[str, Any]]
    network: Mapping[str, Any]
    checkpoint: str | None
    budget: float
    gradients: float
    seed: int
    created: str
    seconds: float
    versions: Mapping[str, Any]
    hardware: Mapping[str, Any]

    @property
    def failed_first(self) -> tuple[Check, ...]:
        """The checks: those that failed, of these first those that forbid a verdict, and then those that passed."""
        return tuple(sorted(self.checks, key=lambda check: (check.passed, not check.blocks)))

    @classmethod
    def read(cls, results: Mapping[str, Any], ledger: Mapping[str, NDArray[Any]]) -> Audit:
        """The content of ``results.json``, and of ``ledger.npz`` where there is one.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: where something is missing or of another kind.
        """
        if results.get("kind") != "audit":
            raise ValueError(f"kind is {results.get('kind')!r}, not 'audit'")
        if results["verdict"] not in VERDICTS:
            raise ValueError(f"verdict is {results['verdict']!r}")
        names = read_class_names(results)
        surfaces, positions = _array(ledger, "surface/margin", 3), _array(ledger, "surface/position", 1)
        if len(surfaces) != len(positions) or (len(surfaces) and min(surfaces.shape[1:]) < 2):
            raise ValueError(f"surface: {len(positions)} positions for values of the shape {surfaces.shape}")
        return cls(
            verdict=results["verdict"],
            reason=str(results["reason"]),
            data=(results.get("data") or {}).get("name"),
            class_names=names,
            examples=int(results["examples"]),
            eps=radius_of(results["threat"], ("init_args", "eps")),
            clean=Accuracy.read(results["clean"]),
            protocol=Protocol.read(results["protocol"]),
            robust=Accuracy.read(results["robust_accuracy"]),
            robust_8_bit=Accuracy.read(results["robust_accuracy_8_bit"]),
            checks=tuple(map(Check.read, results["findings"])),
            rounds=_rounds(results["rounds"], int(results["examples"])),
            stopped=str(results["stopped"]),
            curve=tuple(map(_point, results["eps_curve"])),
            margins=_array(ledger, "restarts/margin", 2),
            surfaces=surfaces,
            surface_positions=tuple(map(int, positions)),
            gallery=tuple(read_gallery(ledger, "gallery/x_adv", "prediction", len(names))),
            sources=dict(results.get("sources") or {}),
            network=read_network(results),
            checkpoint=results.get("checkpoint"),
            budget=float(results["budget"]),
            gradients=_at_least_0("gradients", results["gradient_evaluations_per_example"]),
            seed=int(results["seed"]),
            created=str(results["created"]),
            seconds=float(results["wall_time_seconds"]),
            versions=dict(results["versions"]),
            hardware=dict(results["hardware"]),
        )


def _rounds(entries: Sequence[Mapping[str, Any]], examples: int) -> tuple[Round, ...]:
    rounds = tuple(map(Round.read, entries))
    if any(done.attacked > examples for done in rounds):
        raise ValueError(f"a round attacked more than the {examples} images there are")
    for before, done in pairwise(rounds):
        if done.attacked > before.standing or done.standing != before.standing - done.broken:
            raise ValueError(f"of {before.standing} images a round broke {done.broken} and left {done.standing}")
    return rounds


def _point(entry: Mapping[str, Any]) -> tuple[float, float, int]:
    top1 = float(entry["top1"])
    if not 0 <= top1 <= 1:
        raise ValueError(f"accuracy {top1} at eps {entry['eps']}")
    return _at_least_0("eps", entry["eps"]), top1, int(entry["examples"])


def _at_least_0(what: str, value: Any) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{what}: {value}")
    return float(value)


def _array(ledger: Mapping[str, NDArray[Any]], name: str, axes: int) -> Numbers:
    """The column, or an empty one where there is none."""
    found = ledger.get(name, np.zeros((0,) * axes))
    if found.ndim != axes or found.dtype.kind not in "iuf":
        raise ValueError(f"{name} has {found.ndim} axes of {found.dtype}")
    return found.astype(np.float64)
