"""Which search comes next: what promises the most breaks for its cost, then what is least known, until more would not matter. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from logitpair.auditing.convergence import Round, further_breaks, images, last_rounds
from logitpair.auditing.strategies import SearchStrategy

PRIOR = 0.05  # fraction of its images that a strategy not tried yet is expected to break
DECAY = 0.5  # a strategy's next round is expected to break this fraction of what its last one did
EXTRA, TOLERANCE = 0.25, 1e-3  # worthwhile: so much more of what is spent is expected to break this fraction of all images
NEAREST, MIN_BATCH = 0.04, 64  # a round is for this fraction of the images still correct, and for at least so many
GROW_AT = 0.25  # a round that breaks this fraction of its images is followed by one on twice as many
PROBE = 0.2  # of what is spent, that a round may cost at the most
RESORT = 0.5  # of what all others cost: a last resort is due when its rounds and one more, of the fewest images, come to no more
MIN_AFFORDABLE = 8  # images that the budget must be enough for
AT_ONCE = 256  # images that take hardly longer than a part of them: one batch
ROUNDING = 1e-6  # of passes that are sums of parts
RULES = (11, PRIOR, DECAY, EXTRA, TOLERANCE, NEAREST, MIN_BATCH, GROW_AT, PROBE, RESORT, MIN_AFFORDABLE, AT_ONCE)


@dataclass(frozen=True)
class NextRound:
    """What comes next: a strategy on so many of the nearest images."""

    strategy: SearchStrategy
    repetition: int
    batch: int


@dataclass(frozen=True)
class Stop:
    """The search is over."""

    reason: str
    converged: bool  # further_breaks is below TOLERANCE of all images, or below one
    further_breaks: float  # that another pass of every search comes to at most, with 95% confidence


def batch_for(strategy: SearchStrategy, rounds: Sequence[Round], searchable: int) -> int:
    """How many images the strategy's next round is for: the nearest, or twice as many as last time where it broke ``GROW_AT`` of them.

    Otherwise a round that is not the first of a strategy ``first_on_all`` is for fewer, down to a quarter of ``MIN_BATCH``, if it would
    cost more than ``PROBE``.
    """
    last = next((done.record for done in reversed(rounds) if done.record.strategy == strategy.name), None)
    wanted = max(MIN_BATCH, round(NEAREST * searchable))
    if last is None and strategy.first_on_all:
        wanted = searchable
    elif last and last.broken >= GROW_AT * last.attacked:
        wanted = max(wanted, 2 * last.attacked)
    else:
        wanted = min(wanted, max(MIN_BATCH // 4, affordable(PROBE * sum(done.cost for done in rounds), strategy)))
    return min(searchable, wanted)


def affordable(gradients: float, strategy: SearchStrategy) -> int:
    """How many images so many gradients are enough for."""
    return int(gradients / strategy.cost)


def next_round(
    strategies: Sequence[SearchStrategy], rounds: Sequence[Round], examples: int, searchable: int, budget: float, late: str | None = None
) -> NextRound | Stop:
    """What comes next, or why nothing does; the budget is of gradients for each of the examples, ``late`` says why it must end now.

    The strategy that promises most for its cost while it is worthwhile, else the one that has come to the least part of a pass, and a
    whole pass at once where few are left and the budget is enough for it. A last resort waits until every other has come to a whole pass,
    or until ``RESORT`` says that it is due; what it would still break counts where the budget is enough for it on every example.
    """
    if not searchable:
        return Stop("every image is broken or certified", converged=True, further_breaks=0.0)
    records = {strategy.name: [done.record for done in rounds if done.record.strategy == strategy.name] for strategy in strategies}
    available = [strategy for strategy in strategies if strategy.source is None or not records[strategy.name]]  # a source once
    last = last_rounds([strategy.name for strategy in available], rounds)
    usual = [strategy for strategy in available if not strategy.last_resort]
    counted = [strategy for strategy in available if not strategy.last_resort or strategy.cost <= budget]
    more = further_breaks([last[strategy.name] for strategy in counted], searchable)
    expected = f"another pass of all {len(counted)} searches breaks at most {images(more)} of {examples:,} images (95% confidence)"
    if more < max(1, TOLERANCE * examples):
        return Stop(expected, converged=True, further_breaks=more)
    spent = sum(done.cost for done in rounds)
    left = budget * examples - spent
    whole = all(last[strategy.name][1] > 1 - ROUNDING for strategy in usual)
    resorts = {strategy.name for strategy in strategies if strategy.last_resort}
    by_resorts = sum(done.cost for done in rounds if done.record.strategy in resorts)

    def is_due(strategy: SearchStrategy) -> bool:
        """Whether it is no last resort, or one that need not wait any more."""
        fewest = MIN_BATCH // 4 * strategy.cost
        return not strategy.last_resort or whole or by_resorts + fewest <= RESORT * (spent - by_resorts)

    def is_affordable(strategy: SearchStrategy) -> bool:
        return affordable(left, strategy) >= min(MIN_AFFORDABLE, batch_for(strategy, rounds, searchable))

    within_budget = [strategy for strategy in available if is_due(strategy) and is_affordable(strategy)]
    if late or not within_budget:
        why = late or f"the budget of {budget:g} gradients per image, a forward pass counting as a third, is spent"
        return Stop(f"{why}; {expected}", converged=False, further_breaks=more)

    def promise(strategy: SearchStrategy) -> float:
        """Images that the strategy's next round is expected to break for every gradient."""
        own = records[strategy.name]
        return (DECAY * own[-1].broken / own[-1].attacked if own else PRIOR) / strategy.cost

    # of equal promise the one with the fewest rounds, of these the first
    chosen = max(within_budget, key=lambda strategy: (promise(strategy), -len(records[strategy.name])))
    if EXTRA * spent * promise(chosen) >= TOLERANCE * examples or not rounds:
        batch = batch_for(chosen, rounds, searchable)
    else:
        chosen = min(within_budget, key=lambda strategy: (last[strategy.name][1], strategy.cost))
        at_once = searchable <= min(AT_ONCE, affordable(left, chosen)) and (whole or not chosen.last_resort)
        batch = searchable if at_once else batch_for(chosen, rounds, searchable)
    return NextRound(chosen, len(records[chosen.name]), min(batch, affordable(left, chosen)))
