"""The searches that an audit chooses from, from cheap to expensive."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from logitpair import losses
from logitpair.attacks import APGD, ActivationSearch, Attack, DiversifiedPGD, IteratedLocalSearch, Square
from logitpair.threat import Threat

QUERIES = 2000  # of Square
FORWARD = 1 / 3  # of a gradient: a backward pass takes twice as long as a forward pass
LOCAL = 15_600 + 607 * FORWARD  # what the local search costs on an example that is not broken
ACTIVATION = 27_450 + 48_000 + 1_129 * FORWARD  # and the search in activation space, of whose 48,000 its programmes are counted as
AFFORDED = 48  # examples that the whole budget must be enough for, for a search as expensive as those to be tried: thrice a round's 16


@dataclass(frozen=True)
class SearchStrategy:
    """A search that may be repeated, each time with other random numbers."""

    name: str
    attack: Callable[[int], Attack]  # of repetition 0, 1, ...
    cost: float  # gradients spent on an example that is not broken, a forward pass counted as FORWARD
    first_on_all: bool = False  # its first round is over all examples, so that it shows which are near to being broken
    source: nn.Module | None = None  # the network that is attacked instead of the model
    last_resort: bool = False  # waits for the others, and what another pass of it would break rarely counts (``next_round``)


def transfer_attack(threat: Threat) -> Attack:
    """The attack on another network whose images are tried on the model."""
    return DiversifiedPGD(threat, steps=20, diversify=1).without_early_stop()


def strategies_for(
    threat: Threat,
    classes: int,
    sources: Mapping[str, nn.Module],
    gradients: float = 0.0,
    has_programmes: Callable[[], bool] = lambda: False,
) -> tuple[SearchStrategy, ...]:
    """Every strategy there is for so many classes, these other networks and so many ``gradients`` for all examples together.

    ``has_programmes`` says whether ``ActivationSearch`` solves programmes for the network; it is asked where they are affordable.

    ``smooth`` and ``smooth_long`` are for networks whose gradients point nowhere useful, ``margin`` to ``apgd_ce`` for honest ones, of
    which ``local_search_short`` goes on from its chains' best images where restarts would begin anew,
    ``square`` for what no gradient shows, and with large budgets only, for the last few, ``local_search`` and, on small networks of ReLUs
    in L-infinity, ``activation_search``. The ratio of logits is defined from three classes on, with a target from four.
    """

    def diversified(**options: float) -> Callable[[int], Attack]:
        return lambda repetition: DiversifiedPGD(threat, **options)  # type: ignore[arg-type]

    def smooth_long(repetition: int) -> Attack:
        return DiversifiedPGD(threat, steps=50, diversify=3, smoothing=0.2 if repetition % 2 else 0.4)

    def targeted(repetition: int) -> Attack:
        return DiversifiedPGD(threat, steps=20, diversify=0, candidates=1, target_rank=1 + repetition % (classes - 1))

    def local_search_short(repetition: int) -> Attack:
        return IteratedLocalSearch(threat, chains=3, kicks=2, steps=10, first_steps=14)

    def ratio(repetition: int) -> Attack:
        if classes > 3:
            return APGD(threat, steps=50, loss=losses.targeted_dlr, target_rank=1 + repetition % (classes - 1))
        return APGD(threat, steps=50, loss=losses.dlr if classes == 3 else losses.margin)

    def local_search(repetition: int) -> Attack:
        return IteratedLocalSearch(threat)

    def activation_search(repetition: int) -> Attack:
        return ActivationSearch(threat)

    local = SearchStrategy("local_search", local_search, LOCAL, last_resort=True)
    activation = SearchStrategy("activation_search", activation_search, ACTIVATION, last_resort=True)
    in_activations = threat.fills_box and gradients >= AFFORDED * ACTIVATION and has_programmes()
    return (
        SearchStrategy("smooth", diversified(steps=10, diversify=2, smoothing=0.4), 12 + 6 * FORWARD, first_on_all=True),
        SearchStrategy("margin", diversified(steps=12, diversify=1), 13 + 6 * FORWARD),
        SearchStrategy("smooth_long", smooth_long, 53 + 6 * FORWARD),
        SearchStrategy("targeted", targeted, 20 + 2 * FORWARD),
        SearchStrategy("local_search_short", local_search_short, 102 + 10 * FORWARD),
        SearchStrategy("apgd_dlr" if classes > 2 else "apgd_margin", ratio, 50),
        SearchStrategy("apgd_ce", lambda repetition: APGD(threat, steps=50, loss=losses.cross_entropy), 50),
        SearchStrategy("square", lambda repetition: Square(threat, queries=QUERIES), QUERIES * FORWARD),
        *((local,) if gradients >= AFFORDED * LOCAL else ()),
        *((activation,) if in_activations else ()),
        *(SearchStrategy(f"transfer_{name}", lambda _: transfer_attack(threat), 24, True, network) for name, network in sources.items()),
    )
