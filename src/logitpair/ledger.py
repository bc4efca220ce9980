"""What happened to every example, gathered batch by batch."""

from __future__ import annotations

import numpy as np
from torch import Tensor

GALLERY = 12  # examples whose images are kept for people to look at


class Ledger:
    """Named columns with one row an example, and the images of the first few."""

    def __init__(self) -> None:
        self.classes = 0
        self._parts: dict[str, list[np.ndarray]] = {}

    def add(self, prefix: str, logits: Tensor, y: Tensor) -> None:
        """A batch's predictions, and with more than five classes whether ``y`` is among the five largest logits."""
        self.classes = logits.shape[1]
        self.append(f"{prefix}/prediction", logits.argmax(1))
        if self.classes > 5:
            self.append(f"{prefix}/top5", (logits.topk(5, dim=1).indices == y[:, None]).any(1))

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
