"""What is known of every example while the audit goes on."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from logitpair.errors import InputError
from logitpair.storage.ledger import GALLERY, MISCLASSIFIED, POSITION, STILL_CORRECT, Columns, column, merge


class AuditLedger:
    """The ledger of an audit, round by round; made of the chunks of a survey of all examples, and of which of them are certified."""

    def __init__(self, survey: list[Columns], certified: NDArray[np.bool_] | None = None) -> None:
        clean = merge(survey)
        examples = len(clean["y"])
        self.certified: NDArray[np.bool_] = np.zeros(examples, dtype=np.bool_) if certified is None else certified
        self.clean_correct: NDArray[np.bool_] = clean["prediction"] == clean["y"]
        self.attempts: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(examples, dtype=np.int64))  # by strategy
        self.columns: Columns = {
            "y": clean["y"],
            "clean/prediction": clean["prediction"],
            "clean/margin": clean["margin"],
            "broken_in_round": np.where(self.clean_correct, STILL_CORRECT, MISCLASSIFIED),
            "broken_8_bit": ~self.clean_correct,
            "prediction": clean["prediction"].copy(),
            "margin": clean["margin"].copy(),
            "finite": clean["finite"],
            "distance": np.zeros(examples),
            "restart": np.full(examples, -1),
            "step": np.full(examples, -1),
            "gradients": np.zeros(examples),
            "forwards": np.zeros(examples),
            "gallery/x": clean["gallery/x"],
            "gallery/x_adv": clean["gallery/x"].copy(),
        }

    @property
    def still_correct(self) -> NDArray[np.bool_]:
        """Which examples nothing has broken, ``[examples]``."""
        return self.columns["broken_in_round"] == STILL_CORRECT

    @property
    def searchable(self) -> NDArray[np.bool_]:
        """Which examples are neither broken nor certified, ``[examples]``."""
        return self.still_correct & ~self.certified

    def nearest(self, strategy: str, number: int) -> np.ndarray:
        """Positions of so many searchable examples for a strategy's next round, those nearest to being broken, ascending.

        An example that the strategy attacked in vain counts as twice as far, after two attacks as three times as far, and so on.
        """
        active, sizes = np.flatnonzero(self.searchable), np.abs(self.columns["clean/margin"])
        scale = sizes.max(initial=0, where=np.isfinite(sizes)) or 1.0
        distance = (-self.columns["margin"][active] / scale).round(5) * (1 + self.attempts[strategy][active])
        return np.sort(active[np.argsort(distance, kind="stable")[:number]])

    def ranks(self, positions: np.ndarray) -> NDArray[np.float64]:
        """Where these examples stand among the searchable ones by how near they are to being broken: from 0, the nearest, to 1."""
        active = np.flatnonzero(self.searchable)
        rank = np.empty(len(self.still_correct))
        rank[active[np.argsort(-self.columns["margin"][active], kind="stable")]] = (np.arange(len(active)) + 0.5) / max(1, len(active))
        return rank[positions]

    def add(self, number: int, strategy: str, attacked: np.ndarray, chunks: list[Columns]) -> None:
        """Record a round: what it spent, how near it came, and what it broke."""
        position, margin = column(chunks, POSITION), self.columns["margin"]
        margin[position] = np.fmax(margin[position], column(chunks, "margin"))
        for name in ("gradients", "forwards"):
            self.columns[name][position] += column(chunks, name)
        self.attempts[strategy][attacked] += 1
        self.add_broken(number, chunks)

    def add_broken(self, number: int, chunks: list[Columns]) -> None:
        """Record what these chunks of round ``number`` broke of what was still correct before; an error if that was certified."""
        position = column(chunks, POSITION)
        new = column(chunks, "broken") & self.still_correct[position]
        if (wrong := position[new & self.certified[position]]).size:
            raise InputError(f"certificate: image {wrong[0]} is certified and was broken; the certificate is wrong, or of another network")
        self.columns["broken_in_round"][position[new]] = number
        for name in ("prediction", "finite", "distance", "restart", "step", "broken_8_bit"):
            self.columns[name][position[new]] = column(chunks, name)[new]
        shown = position < GALLERY
        self.columns["gallery/x_adv"][position[shown & new]] = column(chunks, "gallery/x_adv")[new[shown]]
