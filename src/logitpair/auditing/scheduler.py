"""Which search comes next: the one that promises the most broken images for its cost, until none promises any. Pure decisions."""

from collections.abc import Sequence
from dataclasses import dataclass

from logitpair.auditing.strategies import SearchStrategy
from logitpair.storage.results import SearchRound

PRIOR = 0.05  # fraction of its images that a strategy not tried yet is expected to break
DECAY = 0.5  # a strategy's next round is expected to break this fraction of what its last one did
EXTRA, TOLERANCE = 0.1, 1e-3  # converged: so much more of what is spent is expected to break less than this fraction of all images
NEAREST, MIN_BATCH = 0.06, 64  # a round is for this fraction of the images still correct, and for at least so many
GROW_AT = 0.25  # a round that breaks this fraction of its images is followed by one on twice as many
PROBE = 0.2  # of what is spent, that a strategy's first round may cost at the most
MIN_AFFORDABLE = 8  # images that the budget must be enough for
RULES = (PRIOR, DECAY, EXTRA, TOLERANCE, NEAREST, MIN_BATCH, GROW_AT, PROBE, MIN_AFFORDABLE)


@dataclass(frozen=True)
class Round:
    """A round that is over."""

    record: SearchRound
    cost: float  # gradients spent on all its images together, a forward pass counted as FORWARD
    cut: bool = False  # the budget was not enough for all the images that it was for


@dataclass(frozen=True)
class NextRound:
    """What comes next: a strategy on so many of the nearest images, and whether for want of budget they are fewer than they should be."""

    strategy: SearchStrategy
    repetition: int
    batch: int
    cut: bool = False


@dataclass(frozen=True)
class Stop:
    """The search is over."""

    reason: str
    converged: bool  # spending EXTRA is not expected to change the answer by TOLERANCE


def batch_for(strategy: SearchStrategy, rounds: Sequence[Round], still_correct: int) -> int:
    """How many images the strategy's next round is for: the nearest, or twice as many as last time where it broke ``GROW_AT`` of them.

    The first round of a strategy that is not ``first_on_all`` is for fewer, down to a quarter of ``MIN_BATCH``, if it would cost more than
    ``PROBE``.
    """
    last = next((done.record for done in reversed(rounds) if done.record.strategy == strategy.name), None)
    wanted = max(MIN_BATCH, round(NEAREST * still_correct))
    if last is None and strategy.first_on_all:
        wanted = still_correct
    elif last is None:
        spent = sum(done.cost for done in rounds)
        wanted = min(wanted, max(MIN_BATCH // 4, affordable(PROBE * spent, strategy)))
    elif last.broken >= GROW_AT * last.attacked:
        wanted = max(wanted, 2 * last.attacked)
    return min(still_correct, wanted)


def affordable(gradients: float, strategy: SearchStrategy) -> int:
    """How many images so many gradients are enough for."""
    return int(gradients / strategy.cost)


def next_round(
    strategies: Sequence[SearchStrategy], rounds: Sequence[Round], examples: int, still_correct: int, budget: float
) -> NextRound | Stop:
    """What comes next, or why nothing does; the budget is of gradients for each of the examples."""
    if not still_correct:
        return Stop("every image is broken", converged=True)
    latest = {done.record.strategy: done for done in rounds}
    repetitions = {strategy.name: sum(done.record.strategy == strategy.name for done in rounds) for strategy in strategies}
    spent = sum(done.cost for done in rounds)
    left = budget * examples - spent

    def promise(strategy: SearchStrategy) -> float:
        """Images that the strategy's next round is expected to break for every gradient."""
        last = latest[strategy.name].record if strategy.name in latest else None
        return (PRIOR if last is None else DECAY * last.broken / last.attacked) / strategy.cost

    available = [strategy for strategy in strategies if strategy.source is None or not repetitions[strategy.name]]  # a source once
    expected = EXTRA * spent * max(map(promise, available), default=0.0)
    all_tried = len(latest) == len(strategies) and not any(done.cut for done in latest.values())
    if all_tried and expected < TOLERANCE * examples:
        more = f"{EXTRA:.0%} more is expected to break {expected:.1f} of {examples:,} images"
        return Stop(f"all {len(strategies)} searches were tried, and {more}", converged=True)
    within_budget = [s for s in available if affordable(left, s) >= min(MIN_AFFORDABLE, batch_for(s, rounds, still_correct))]
    if not within_budget:
        return Stop(f"the budget of {budget:g} gradients per image is spent", converged=False)
    # of equal promise the one with the fewest rounds, of these the first
    chosen = max(within_budget, key=lambda strategy: (promise(strategy), -repetitions[strategy.name]))
    wanted, most = batch_for(chosen, rounds, still_correct), affordable(left, chosen)
    return NextRound(chosen, repetitions[chosen.name], min(wanted, most), cut=most < wanted)
