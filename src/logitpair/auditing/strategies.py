"""The searches that an audit chooses from, from cheap to dear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from logitpair import losses
from logitpair.attacks import APGD, Attack, DiversifiedPGD, Square
from logitpair.threat import Linf


@dataclass(frozen=True)
class SearchStrategy:
    """A search that may be taken again and again, each time with other random numbers.

    Args:
        name: in results.
        attack: what the ``turn``-th time does, from 0.
        cost: gradients an example that stands to the end costs, a forward pass counted as ``FORWARD``.
        everywhere: whether its first turn is over all examples that stand, so that it shows which are near to being broken.
        source: the network that is attacked instead of the model; None for the model.
    """

    name: str
    attack: Callable[[int], Attack]
    cost: float
    everywhere: bool = False
    source: nn.Module | None = None


QUERIES = 2000  # of Square
FORWARD = 1 / 3  # of a gradient: a backward pass takes twice as long as a forward pass


def arms(threat: Linf, classes: int, sources: Mapping[str, nn.Module]) -> tuple[SearchStrategy, ...]:
    """Every search there is for so many classes and these other networks.

    ``smooth`` and ``smooth_long`` are for networks whose gradients point nowhere useful, ``margin`` to ``apgd_ce`` for honest ones,
    ``square`` for what no gradient shows. ``dlr`` takes the place of its targeted form under four classes, and margin that of both under
    three, where the ratio is not defined.
    """

    def diversified(**options: float) -> Callable[[int], Attack]:
        return lambda turn: DiversifiedPGD(threat, **options)  # type: ignore[arg-type]

    def targeted(turn: int) -> Attack:
        return DiversifiedPGD(threat, steps=20, diversify=0, candidates=1, target_rank=1 + turn % (classes - 1))

    def ratio(turn: int) -> Attack:
        if classes > 3:
            return APGD(threat, steps=50, loss=losses.targeted_dlr, target_rank=1 + turn % (classes - 1))
        return APGD(threat, steps=50, loss=losses.dlr if classes == 3 else losses.margin)

    own = (
        SearchStrategy("smooth", diversified(steps=10, diversify=2, smoothing=0.4), 12 + 6 * FORWARD, everywhere=True),
        SearchStrategy("margin", diversified(steps=12, diversify=1), 13 + 6 * FORWARD, everywhere=True),
        SearchStrategy("smooth_long", diversified(steps=20, diversify=3, smoothing=0.4), 23 + 6 * FORWARD),
        SearchStrategy("targeted", targeted, 20 + 2 * FORWARD),
        SearchStrategy("margin_long", diversified(steps=50, diversify=2, restarts=2), 104 + 11 * FORWARD),
        SearchStrategy("apgd_dlr" if classes > 2 else "apgd_margin", ratio, 50),
        SearchStrategy("apgd_ce", lambda turn: APGD(threat, steps=50, loss=losses.cross_entropy), 50),
        SearchStrategy("square", lambda turn: Square(threat, queries=QUERIES), QUERIES * FORWARD),
    )
    against = diversified(steps=20, diversify=1)
    transfer = (
        SearchStrategy(f"transfer_{name}", lambda turn: against(turn).without_early_stop(), 24, everywhere=True, source=network)
        for name, network in sources.items()
    )
    return own + tuple(transfer)
