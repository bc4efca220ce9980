"""Published numbers beside those of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from logitpair.evaluation.confidence import wilson
from logitpair.report.records.evaluation import Accuracy, Evaluation, Suite

_MEASURES = {
    "clean": "clean",
    "white_box": "white box",
    "white_box_top5": "white box, top-5",
    "black_box": "black box",
    "black_box_top5": "black box, top-5",
}


@dataclass(frozen=True)
class Comparison:
    """One published number beside ours.

    Args:
        measure: what was measured.
        ours: our accuracy as ``(accuracy, low, high)`` with its 95% interval; None where it was not measured.
        at_most: ours is an upper bound, because the search stopped too early to know it.
        published: their accuracy, as a fraction.
        source: the paper, and what is to be known of its number.
    """

    measure: str
    ours: tuple[float, float, float] | None
    at_most: bool
    published: float
    source: str

    @property
    def inside(self) -> bool:
        """Whether the published number lies within our interval."""
        return bool(self.ours) and self.ours[1] <= self.published <= self.ours[2]


def comparisons(evaluation: Evaluation) -> list[Comparison]:
    """The published numbers, paper by paper; of several black-box sources ours is the one that fools the network most."""
    rows: list[Comparison] = []
    for entry in evaluation.published:
        source = f"{entry.source} ({entry.note})" if entry.note else entry.source
        for measure, published in entry.accuracies.items():
            name, ours, at_most = _ours(evaluation, measure)
            rows.append(Comparison(_MEASURES[measure] + name, ours, at_most, published, source))
    return rows


def _ours(evaluation: Evaluation, measure: str) -> tuple[str, tuple[float, float, float] | None, bool]:
    """From where, our accuracy, and whether it is an upper bound."""
    if measure == "clean":
        return "", _whole(evaluation.clean), False
    victim, top5 = measure.removesuffix("_top5"), measure.endswith("_top5")
    suites = {"": evaluation.white_box} if victim == "white_box" else {f" from {k}": v for k, v in evaluation.black_box.items()}
    found = [(name, *_lowest(suite, top5)) for name, suite in suites.items() if not top5 or _top5(suite)]
    if not found:
        return "", None, False
    return min(found, key=lambda entry: entry[1][0])


def _lowest(suite: Suite, top5: bool) -> tuple[tuple[float, float, float], bool]:
    if not top5:
        return _whole(suite.worst.accuracy), False
    value, total, at_most = min(_top5(suite))
    return (value, *wilson(round(value * total), total)), at_most


def _top5(suite: Suite) -> list[tuple[float, int, bool]]:
    return [(a.top5, a.total, a.top5_is_upper_bound) for a in (attacked.accuracy for attacked in suite.attacks) if a.top5 is not None]


def _whole(accuracy: Accuracy) -> tuple[float, float, float]:
    return accuracy.top1, accuracy.low, accuracy.high
