"""What is known of every example while the audit goes on."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from logitpair.auditing.search import column
from logitpair.errors import InputError
from logitpair.storage.ledger import GALLERY, POSITION, Columns

STANDS, WRONG_BEFORE = -1, -2  # in the place of a round's number


class AuditLedger:
    """The ledger of an audit, round by round.

    Args:
        survey: the parts of the first look at all examples.
        examples: how many there are.

    Raises:
        InputError: if parts are missing.
    """

    def __init__(self, survey: list[Columns], examples: int) -> None:
        _whole(survey, np.arange(examples))
        order = np.argsort(column(survey, POSITION))
        surveyed = {name: column(survey, name)[order] for name in survey[0] if "/" not in name and name != POSITION}
        prediction, y = surveyed["prediction"], surveyed["y"]
        images = np.concatenate([part["gallery/x"] for part in survey])
        self.visits: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(examples, dtype=np.int64))
        self.columns: Columns = {
            "y": y,
            "clean/prediction": prediction,
            "clean/margin": surveyed["margin"],
            "broken_by": np.where(prediction == y, STANDS, WRONG_BEFORE),
            "broken_8_bit": prediction != y,
            "prediction": prediction.copy(),
            "margin": surveyed["margin"].copy(),
            "distance": np.zeros(examples),
            **{name: np.full(examples, -1) for name in ("restart", "step")},
            **{name: np.zeros(examples) for name in ("gradients", "forwards")},
            "gallery/x": images,
            "gallery/x_adv": images.copy(),
        }

    @property
    def standing(self) -> np.ndarray:
        """Positions of the examples that no search has broken."""
        return np.flatnonzero(self.columns["broken_by"] == STANDS)

    def nearest(self, arm: str, number: int) -> np.ndarray:
        """Positions of so many standing examples for a search's next turn, those nearest to being broken, in the order of the data.

        An example that the search attacked in vain counts as twice as far, after two attacks as three times as far, and so on.
        """
        standing, scale = self.standing, np.abs(self.columns["clean/margin"]).max() or 1.0
        distance = (-self.columns["margin"][standing] / scale).round(5) * (1 + self.visits[arm][standing])
        return np.sort(standing[np.argsort(distance, kind="stable")[:number]])

    def add(self, number: int, arm: str, attacked: np.ndarray, parts: list[Columns]) -> tuple[int, float, float]:
        """Take down a round: how many it broke, and the gradients and forward passes it spent on all.

        Raises:
            InputError: if parts are missing.
        """
        _whole(parts, attacked)
        columns = self.columns
        at, broken = column(parts, POSITION), column(parts, "broken")
        for name in ("gradients", "forwards"):
            columns[name][at] += column(parts, name)
        self.visits[arm][attacked] += 1
        columns["margin"][at] = np.fmax(columns["margin"][at], column(parts, "margin"))
        for part in parts:
            self.note(number, part)
        return int(broken.sum()), float(column(parts, "gradients").sum()), float(column(parts, "forwards").sum())

    def note(self, number: int, part: Columns) -> None:
        """Take down whatever a part broke of what stood until then."""
        columns = self.columns
        at, first = part[POSITION], part["broken"] & (self.columns["broken_by"][part[POSITION]] == STANDS)
        columns["broken_by"][at[first]] = number
        for name in ("prediction", "distance", "restart", "step", "broken_8_bit"):
            columns[name][at[first]] = part[name][first]
        for position, image, fooled in zip(at[at < GALLERY], part["gallery/x_adv"], first[at < GALLERY], strict=True):
            if fooled:
                columns["gallery/x_adv"][position] = image


def _whole(parts: list[Columns], positions: np.ndarray) -> None:
    found = column(parts, POSITION) if parts else positions[:0]
    if not np.array_equal(np.sort(found), positions):
        missing = len(np.setdiff1d(positions, found))
        raise InputError(f"the parts of the audit do not make up {len(positions)} examples: {missing} are missing; audit again")
