"""What happened to every example, gathered batch by batch."""

from __future__ import annotations

import numpy as np
from torch import Tensor

GALLERY = 12  # examples whose images are kept for people to look at


class Ledger:
    """Named columns with one row an example, and the images of the first few."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {}

    def add(self, prefix: str, prediction: Tensor, top5: Tensor | None) -> None:
        """A batch's predicted classes, and with more than five classes whether the true one is among the five likeliest."""
        self.append(f"{prefix}/prediction", prediction)
        if top5 is not None:
            self.append(f"{prefix}/top5", top5)

    def add_images(self, name: str, x: Tensor) -> None:
        """A batch's images, as long as the gallery is not full."""
        kept = sum(map(len, self._parts.get(f"gallery/{name}", [])))
        if kept < GALLERY:
            self.append(f"gallery/{name}", x[: GALLERY - kept])

    def append(self, column: str, values: Tensor) -> None:
        """A batch's values ``[batch, ...]`` of one column."""
        self._parts.setdefault(column, []).append(values.cpu().numpy())

    def columns(self) -> dict[str, np.ndarray]:
        """Every column, whole."""
        return {column: np.concatenate(parts) for column, parts in self._parts.items()}
