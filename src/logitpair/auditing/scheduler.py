"""Which search comes next: the one that promises the most broken images for its cost, until none promises any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from logitpair.auditing.strategies import FORWARD, SearchStrategy

PRIOR = 0.05  # share of the examples that an arm not tried yet is taken to break
AGAIN = 0.5  # an arm's next turn is taken to break this share of what its last one did
MORE, PATIENCE = 0.1, 1e-3  # it ends once so much more of what is spent is taken to break less than this share of all examples
NEAREST, LEAST = 0.06, 64  # share, and number, of the standing examples that a turn is for
MANY = 0.25  # share of its examples that a turn breaks if the next shall reach further
PROBE = 0.2  # of what is spent, that an arm's first turn may cost at the most
WORTH = 8  # examples that a turn should be affordable for
RULES = (PRIOR, AGAIN, MORE, PATIENCE, NEAREST, LEAST, MANY, PROBE, WORTH)


@dataclass(frozen=True)
class Round:
    """One arm's turn on examples that stood.

    Args:
        arm: its name.
        turn: how often it had been taken before.
        attacked: how many examples.
        broken: how many of them it broke.
        gradients, forwards: spent on all of them together.
        seconds: spent by all processes together.
        cut: whether the budget was not enough for all that it was to attack.
    """

    arm: str
    turn: int
    attacked: int
    broken: int
    gradients: float
    forwards: float
    seconds: float
    cut: bool = False

    @property
    def cost(self) -> float:
        """In gradients, with a forward pass as a part of one."""
        return self.gradients + FORWARD * self.forwards


@dataclass(frozen=True)
class Turn:
    """What comes next: an arm, how often it had been taken before, how many of the nearest examples it attacks, and whether that is fewer
    than it was to, for want of budget."""

    arm: SearchStrategy
    number: int
    reach: int
    cut: bool = False


@dataclass(frozen=True)
class Stop:
    """The search is over.

    Args:
        reason: in words.
        settled: whether spending ``MORE`` is not expected to change the answer by ``PATIENCE``.
    """

    reason: str
    settled: bool


def reach(arm: SearchStrategy, rounds: Sequence[Round], standing: int) -> int:
    """How many of the standing examples the arm's next turn attacks.

    All in the first turn of an arm that begins everywhere; else ``NEAREST`` of them, at least ``LEAST``, or twice as many as last time
    where it broke a share of ``MANY``. A first turn that would cost more than ``PROBE`` is over fewer, down to a quarter of ``LEAST``.
    """
    before = next((done for done in reversed(rounds) if done.arm == arm.name), None)
    if before is None and arm.everywhere:
        return standing
    few = max(LEAST, round(NEAREST * standing))
    if before is None:
        spent = sum(done.cost for done in rounds)
        return min(standing, few, max(LEAST // 4, affords(PROBE * spent, arm)))
    if before.broken >= MANY * before.attacked:
        return min(standing, max(few, 2 * before.attacked))
    return min(standing, few)


def next_arm(arms: Sequence[SearchStrategy], rounds: Sequence[Round], examples: int, standing: int, budget: float) -> Turn | Stop:
    """What comes next, or why nothing does.

    Args:
        arms: to choose from.
        rounds: what was done, in order.
        examples: of the data.
        standing: how many of them are still classified right.
        budget: of gradients for each of the examples.
    """
    if not standing:
        return Stop("every image is broken", settled=True)
    latest = {done.arm: done for done in rounds}
    spent = sum(done.cost for done in rounds)
    left = budget * examples - spent
    taken = {arm.name: sum(done.arm == arm.name for done in rounds) for arm in arms}

    def promise(arm: SearchStrategy) -> float:
        """Examples that the arm's next turn is taken to break for every gradient."""
        before = latest.get(arm.name)
        return (PRIOR if before is None else AGAIN * before.broken / before.attacked) / arm.cost

    open_arms = [arm for arm in arms if arm.source is None or not taken[arm.name]]  # another network is tried once
    more = MORE * spent * max(map(promise, open_arms), default=0.0)
    tried = len(latest) == len(arms) and not any(done.cut for done in latest.values())
    if tried and more < PATIENCE * examples:
        return Stop(
            f"all {len(arms)} searches were tried, and {MORE:.0%} more is expected to break {more:.1f} of {examples:,} images", True
        )
    affordable = [arm for arm in open_arms if affords(left, arm) >= min(WORTH, reach(arm, rounds, standing))]
    if not affordable:
        return Stop(f"the budget of {budget:g} gradients per image is spent", settled=False)
    # of equal promise the one that was taken least, of these the first
    chosen = max(affordable, key=lambda arm: (promise(arm), -taken[arm.name]))
    wanted, affordable_now = reach(chosen, rounds, standing), affords(left, chosen)
    return Turn(chosen, taken[chosen.name], min(wanted, affordable_now), cut=affordable_now < wanted)


def affords(left: float, arm: SearchStrategy) -> int:
    """How many examples so many gradients are enough for."""
    return int(left / arm.cost)
