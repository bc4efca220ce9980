"""How much more the same searches would find: an upper confidence bound, from what each found in its last rounds. Pure statistics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logitpair.storage.results import AuditResults, SearchRound

CONFIDENCE = 0.95
UNIFORM = 10  # breaks that the assumption of no order at all counts as


@dataclass(frozen=True)
class Round:
    """A round that is over."""

    record: SearchRound
    cost: float  # gradients spent on all its images together, a forward pass counted as FORWARD
    rank: NDArray[np.float64]  # of each image among those still correct, [attacked], from 0, the nearest to misclassification, to 1
    broken: NDArray[np.bool_]  # [attacked]

    @property
    def on_all(self) -> bool:
        """Whether it attacked all that was still correct."""
        return self.record.attacked == self.record.searched_before


def last_rounds(strategies: Iterable[str], rounds: Sequence[Round]) -> dict[str, tuple[int, float]]:
    """What each strategy broke in the later half of its rounds, and how many passes over all that is still correct these come to.

    A round on the nearest images is as great a part of a pass as it holds of the images that rounds on all broke, by their ranks.
    """
    ranks = np.sort(np.concatenate([np.zeros(0), *(done.rank[done.broken] for done in rounds if done.on_all)]))
    found = {}
    for name in strategies:
        own = [done for done in rounds if done.record.strategy == name]
        last = own[len(own) // 2 :]
        found[name] = sum(done.record.broken for done in last), sum(_part_of_a_pass(done, ranks) for done in last)
    return found


def further_breaks(last: Iterable[tuple[int, float]], still_correct: int) -> float:
    """How many images one more pass of each strategy over all that is still correct would break: an upper 95% bound.

    What a strategy broke in its ``last`` rounds is a Poisson number whose mean is the wanted one times the passes that they come to. The
    bound is that of a weighted sum of Poisson numbers; it is ``still_correct`` where a strategy was not tried.

    The confidence is that of one look: a search that looks after every round, and stops once the bound is low, stops somewhat early.

    Source: Fay and Feuer 1997, "Confidence intervals for directly standardized rates", Statistics in Medicine 16. That an image's rank
    says how likely it is to break, for every strategy alike, is the assumption; images that two strategies would break count twice.
    """
    broken, passes = np.array(list(last), dtype=float).reshape(-1, 2).T
    if not passes.all():
        return float(still_correct)
    return min(float(still_correct), _upper_bound(broken, 1 / passes))


def images(bound: float) -> str:
    """A bound on a number of images as text."""
    return f"{bound:.3g}" if bound < 100 else f"{bound:,.0f}"


def outlook(audit: AuditResults) -> str:
    """What more search would find, in a sentence; empty for an audit of before the bound was recorded."""
    more, left = audit.further_breaks, audit.robust_accuracy.correct - (audit.certified.correct if audit.certified else 0)
    if more is None:
        return ""
    if not left:
        return "No image is left for more search to break."
    which = "neither broken nor certified" if audit.certified else "still correct"
    those = f"{left:,} images" if left > 1 else "one image"
    return f"More search of these kinds is expected to break at most {images(more)} more of the {those} {which} (95%)."


def _part_of_a_pass(done: Round, ranks: NDArray[np.float64]) -> float:
    """The probability that an image which a pass over all would break is among those that the round attacked."""
    width = 1 / max(1, done.record.searched_before)

    def below(rank: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.searchsorted(ranks, rank) + UNIFORM * rank) / (len(ranks) + UNIFORM)

    return min(1.0, float((below(done.rank + width / 2) - below(done.rank - width / 2)).sum()))


def _upper_bound(broken: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Of the sum of ``weight`` times the means of Poisson numbers, of which ``broken`` were drawn."""
    from scipy.special import gammaincinv  # here, because importing it takes a moment; scipy.stats, with the distribution itself, a second

    if not len(weight):
        return 0.0
    largest = weight.max()
    mean, variance = (weight * broken).sum() + largest, (weight**2 * broken).sum() + largest**2
    return float(gammaincinv(mean**2 / variance, CONFIDENCE) * variance / mean)  # the quantile of a gamma distribution
