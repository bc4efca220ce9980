"""The record of a training run: ``metrics.jsonl`` and TensorBoard events."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from logitpair.objectives import LossTerms
from logitpair.runtime import distributed
from logitpair.runtime.distributed import World
from logitpair.storage.atomic_files import atomic_write, read_json_lines


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


class Clock:
    """Seconds from one lap to the next."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.perf_counter()
        self._last, elapsed = now, now - self._last
        return elapsed


def measured(result: LossTerms, y: Tensor) -> dict[str, Tensor]:
    """The loss, its terms and the accuracies on a batch, by name."""
    accuracies = {f"{name}_accuracy": (logits.argmax(1) == y).float().mean() for name, logits in result.logits.items()}
    return {name: value.detach() for name, value in {"loss": result.total, **result.terms, **accuracies}.items()}


@dataclass
class Window:
    """Means of what the steps since the last log line reported; read from the device only when the line is written."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    images: int = 0
    began: float = field(default_factory=time.perf_counter)

    def add(self, measures: dict[str, Tensor], images: int) -> None:
        """Count one step: what it measured, and its images over all processes."""
        for name, value in measures.items():
            # the gradient of a step that float16 skips is not finite, and JSON knows no such number
            self.sums[name] = value.nan_to_num(posinf=0.0, neginf=0.0) + self.sums.get(name, 0)
        self.steps += 1
        self.images += images

    def close(self, world: World) -> dict[str, float]:
        """The means over steps and processes, and images a second of all processes; the next window begins."""
        stacked = torch.stack([(value / self.steps).double() for value in self.sums.values()])
        means = dict(zip(self.sums, distributed.mean(stacked, world).tolist(), strict=True))
        means["images_per_second"] = self.images / (time.perf_counter() - self.began)
        self.sums, self.steps, self.images, self.began = {}, 0, 0, time.perf_counter()
        return means


def summary(line: dict[str, float]) -> str:
    """A log line for people."""
    shown = {
        "loss": "loss {:.3f}",
        "clean_accuracy": "clean {:.1%}",
        "adversarial_accuracy": "adv {:.1%}",
        "noisy_accuracy": "noisy {:.1%}",
        "mixed_accuracy": "mixed {:.1%}",
        "validation_clean": "held-out clean {:.1%}",
        "validation_white_box": "held-out white box {:.1%}",
        "images_per_second": "{:,.0f} img/s",
    }
    return " · ".join(text.format(line[name]) for name, text in shown.items() if name in line)
