"""What ``results.json`` and ``ledger.npz`` say, as typed values; reading them checks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from logitpair.report.records.gallery import Example, read_class_names, read_gallery


@dataclass(frozen=True)
class Accuracy:
    """A share of correct examples, with its 95% interval; fractions."""

    top1: float
    low: float
    high: float
    correct: int
    total: int
    top5: float | None = None
    top5_is_upper_bound: bool = False

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Accuracy:
        """An accuracy entry of ``results.json``.

        Raises:
            ValueError: if its numbers cannot be an accuracy (``KeyError`` or ``TypeError`` where they are missing or no numbers).
        """
        low, high = map(float, entry["ci95"])
        top1 = float(entry["top1"])
        if not 0 <= low <= high <= 1 or not 0 <= top1 <= 1:
            raise ValueError(f"accuracy {top1} with interval {low} to {high}")
        top5 = float(entry["top5"]) if "top5" in entry else None
        return cls(top1, low, high, int(entry["correct"]), int(entry["total"]), top5, bool(entry.get("top5_is_upper_bound")))


@dataclass(frozen=True)
class Broken:
    """Of the images classified right when clean: how many an attack broke, how many as the first of the suite, how many it alone."""

    total: int
    first: int
    alone: int

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Broken:
        """The ``broken`` of an attack entry.

        Raises:
            ValueError: if the counts cannot be (``KeyError`` or ``TypeError`` where they are missing or no mapping).
        """
        total, first, alone = _counts("broken", [entry[key] for key in ("total", "first", "alone")])
        if not alone <= first <= total:
            raise ValueError(f"broken: {alone} alone, {first} first, {total} in total")
        return cls(total, first, alone)


@dataclass(frozen=True)
class Standing:
    """How many images are still classified right: after 0, 1, ... gradient steps, and after 1, 2, ... restarts."""

    steps: tuple[int, ...] = ()
    restarts: tuple[int, ...] = ()

    @classmethod
    def read(cls, entry: Mapping[str, Any], total: int) -> Standing:
        """The ``standing`` of an attack entry over ``total`` images.

        Raises:
            ValueError: if the counts cannot be (``AttributeError`` or ``TypeError`` where they are no lists).
        """
        steps, restarts = (_counts(f"standing {key}", entry.get(key, [])) for key in ("steps", "restarts"))
        if any(count > total for count in steps + restarts):
            raise ValueError(f"standing: more than the {total} images there are")
        return cls(steps, restarts)


@dataclass(frozen=True)
class Published:
    """What a paper reports for the same recipe: accuracies as fractions by the key they have in ``results.json``.

    Args:
        source: the paper and the place in it.
        accuracies: those of ``MEASURES`` that it gives.
        note: what a reader should know beside them.
    """

    source: str
    accuracies: Mapping[str, float]
    note: str

    MEASURES = ("clean", "white_box", "white_box_top5", "black_box", "black_box_top5")

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Published:
        """An entry of ``published``.

        Raises:
            ValueError: for a number that is no accuracy (``KeyError``, ``TypeError`` or ``AttributeError`` where it is something else).
        """
        accuracies = {measure: float(entry[measure]) for measure in cls.MEASURES if entry.get(measure) is not None}
        for measure, accuracy in accuracies.items():
            if not 0 <= accuracy <= 1:
                raise ValueError(f"published {measure} {accuracy}")
        return cls(str(entry["source"]), accuracies, str(entry.get("note") or ""))


@dataclass(frozen=True)
class Attacked:
    """Accuracy under one attack, what the attack was and cost, and where known what it broke and when."""

    name: str
    accuracy: Accuracy
    parameters: Any
    gradients: float
    seconds: float
    broken: Broken | None = None
    standing: Standing = Standing()

    @property
    def eps(self) -> float | None:
        """The radius of the attack's ball, where it has one."""
        return radius_of(self.parameters)

    @classmethod
    def read(cls, name: str, entry: Mapping[str, Any]) -> Attacked:
        """An entry of ``attacks``."""
        accuracy = Accuracy.read(entry)
        broken, standing = entry.get("broken"), entry.get("standing")
        return cls(
            name=name,
            accuracy=accuracy,
            parameters=entry["parameters"],
            gradients=float(entry["gradient_evaluations_per_example"]),
            seconds=float(entry["seconds"]),
            broken=Broken.read(broken) if broken is not None else None,
            standing=Standing.read(standing, accuracy.total) if standing is not None else Standing(),
        )


@dataclass(frozen=True)
class Suite:
    """A victim's attacks together: each, the worst of them, and any of them."""

    attacks: tuple[Attacked, ...]
    worst: Attacked
    union: Accuracy

    @classmethod
    def read(cls, attacks: Mapping[str, Any], worst: str, union: Mapping[str, Any]) -> Suite:
        """The attacks' entries, the name of the worst, and the entry of their union."""
        read = {name: Attacked.read(name, entry) for name, entry in attacks.items()}
        return cls(tuple(read.values()), read[worst], Accuracy.read(union))


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run.

    Args:
        network: the options that a network of one's own and its images were given by; empty for a run.
        transfer: whether it is one of an evaluation of several networks on each other's images.
        others: as ``docs/results.md`` explains the keys of their names.
    """

    name: str
    data: str | None
    class_names: tuple[str, ...]
    examples: int
    clean: Accuracy
    white_box: Suite
    black_box: Mapping[str, Suite]
    curve: tuple[tuple[float, Accuracy], ...]
    confusion: tuple[tuple[int, ...], ...]
    gallery: tuple[Example, ...]
    published: tuple[Published, ...]
    sources: Mapping[str, Mapping[str, Any]]
    network: Mapping[str, Any]
    transfer: bool
    checkpoint: str | None
    seed: int
    created: str
    seconds: float
    versions: Mapping[str, Any]
    hardware: Mapping[str, Any]

    @property
    def eps(self) -> tuple[float, ...]:
        """The radii of the white-box attacks, without repetition."""
        return tuple(dict.fromkeys(attack.eps for attack in self.white_box.attacks if attack.eps is not None))

    @classmethod
    def read(cls, results: Mapping[str, Any], ledger: Mapping[str, NDArray[Any]]) -> Evaluation:
        """The content of ``results.json``, and of ``ledger.npz`` where there is one.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: where something is missing or of another kind.
        """
        data = results.get("data") or {}
        names = read_class_names(results)
        classes = len(names)
        white_box = results["white_box"]
        attack = white_box["attack"]
        black_box = results["black_box"].items()
        return cls(
            name=str(results["name"]),
            data=data.get("name"),
            class_names=names,
            examples=int(results["examples"]),
            clean=Accuracy.read(results["clean"]),
            white_box=Suite.read(results["attacks"], attack, results["white_box_union"]),
            black_box={name: Suite.read(entry["attacks"], entry["attack"], entry["union"]) for name, entry in black_box},
            curve=tuple((float(point["eps"]), Accuracy.read(point)) for point in results["curve"]),
            confusion=_square(white_box.get("confusion", []), classes),
            gallery=tuple(read_gallery(ledger, f"gallery/white_box/{attack}", f"white_box/{attack}/prediction", classes)),
            published=tuple(map(Published.read, results.get("published") or ())),
            sources=dict(results.get("sources") or {}),
            network=read_network(results),
            transfer=bool(results.get("transfer")),
            checkpoint=results.get("checkpoint"),
            seed=int(results["seed"]),
            created=str(results["created"]),
            seconds=float(results["wall_time_seconds"]),
            versions=dict(results["versions"]),
            hardware=dict(results["hardware"]),
        )


def _counts(what: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or any(type(value) is not int or value < 0 for value in values):
        raise ValueError(f"{what} holds something that is no count")
    return tuple(values)


def _square(counts: list[list[int]], classes: int) -> tuple[tuple[int, ...], ...]:
    if counts and {len(counts), *map(len, counts)} != {classes}:
        raise ValueError(f"the confusion counts are not {classes} by {classes}")
    return tuple(tuple(map(int, row)) for row in counts)


def read_network(results: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a network of one's own and its images were given by; none for a run."""
    network, data = results.get("network"), results.get("data") or {}
    return {**network, "size": data.get("size"), "resize": data.get("resize")} if network else {}


def radius_of(parameters: Any, path: Sequence[str] = ("init_args", "threat", "init_args", "eps")) -> float | None:
    """The radius of the ball of an attack, or of a threat model by another path; None where it has none."""
    for key in path:
        parameters = parameters.get(key) if isinstance(parameters, Mapping) else None
    return float(parameters) if isinstance(parameters, int | float) else None
