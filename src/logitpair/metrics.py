"""The record of a training run: ``metrics.jsonl`` and TensorBoard events."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from logitpair.files import atomic_write, read_json_lines


class MetricsLog:
    """Appends a line of metrics a call; on resuming, what lies beyond the checkpoint is dropped, since it will be written again.

    Args:
        run: the run directory.
        resume_at: steps that the checkpoint has taken.
    """

    def __init__(self, run: Path, resume_at: int) -> None:
        self.path = run / "metrics.jsonl"
        kept = [line for line in read_json_lines(self.path) if line["step"] <= resume_at]
        atomic_write(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._tensorboard = SummaryWriter(str(run / "tensorboard"), purge_step=resume_at + 1 if resume_at else None)

    def write(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Append named numbers."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, "epoch": round(epoch, 4), **values}) + "\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._tensorboard.close()
