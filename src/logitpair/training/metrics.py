"""What a training run measures on the way: ``metrics.jsonl``, TensorBoard events, trackers, and what people see in the terminal."""

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.utils.tensorboard import SummaryWriter

from logitpair.errors import InputError
from logitpair.runtime import distributed
from logitpair.runtime.distributed import World
from logitpair.runtime.progress import Progress
from logitpair.storage.atomic_files import atomic_write, naming, read_json_lines
from logitpair.training.process_team import Measures, ProcessTeam
from logitpair.training.trackers import Tracker, Trackers

logger = logging.getLogger("logitpair")
SHOWN = {
    "loss": "loss {:.3f}",
    "clean_accuracy": "clean {:.1%}",
    "adversarial_accuracy": "adv {:.1%}",
    "noisy_accuracy": "noisy {:.1%}",
    "mixed_accuracy": "mixed {:.1%}",
    "validation_clean": "held-out clean {:.1%}",
    "validation_white_box": "held-out white box {:.1%}",
    "validation_back_to_step": "back to step {:.0f}",
    "images_per_second": "{:,.0f} img/s",
}


class RunLog:
    """Counts every step, and writes a line of metrics when asked to: one of the team's processes to files, those ``shown`` to people."""

    def __init__(self, run: Path, team: ProcessTeam, total: int, per_epoch: int, shown: bool, trackers: Sequence[Tracker]) -> None:
        self._run, self._path, self._events_folder = run, run / "metrics.jsonl", run / "tensorboard"
        self._trackers, self._tracked = Trackers(trackers), 0  # up to which step they were told before this process began to write
        self._team, self._total, self._per_epoch, self._shown = team, total, per_epoch, shown
        self._bar = Progress("train", total, team.state.step, shown=shown, unit=None)
        self._window = Window()
        self._events: SummaryWriter | None = None

    def begin_step(self) -> None:
        """Start the clock of a step."""
        self._window.began = time.perf_counter()

    def add(self, measures: Measures, images: int) -> None:
        """Count the step that was just taken: what it measured, and its images over all processes."""
        if self._team.rank == 0:
            self._open()
        if not self._team.is_standby:
            self._window.add(measures, images)
        self._bar.update(self._team.state.step)

    def write(self, validation: dict[str, float]) -> None:
        """Write the means of the steps since the last line, and what validation found."""
        state = self._team.state
        line = self._window.close(self._team.world) | {"lr": state.optimizer.param_groups[0]["lr"]} if self._window.steps else {}
        line |= validation
        if not line:
            return
        if self._team.is_writer():
            events = self._open()
            if not self._path.exists():  # to write would begin half a run
                where = f"--out: {self._path.parent} was moved or deleted while it was being trained"
                raise InputError(f"{where}; with --out where it is now training goes on from the last checkpoint")
            with naming(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.step, "epoch": round((state.step - 1) / self._per_epoch, 4), **line}) + "\n")
            for name, value in line.items():
                events.add_scalar(name, value, state.step)
            if state.step > self._tracked:
                self._trackers.log(state.step, line)
        self._bar.update(state.step, summary(line))
        if self._shown and validation:
            logger.info(f"step {state.step}/{self._total} · {summary(line)}")

    def _open(self) -> SummaryWriter:
        """Begin to write, once; on resuming, what lies beyond the checkpoint is dropped, since it will be written again."""
        if self._events is None:
            before = self._team.state.step - 1  # steps taken when this process began to write
            lines = read_json_lines(self._path)
            kept = [line for line in lines if line["step"] <= before]
            atomic_write(self._path, "".join(json.dumps(line) + "\n" for line in kept))
            if not before:
                shutil.rmtree(self._events_folder, ignore_errors=True)  # of a training that came to no checkpoint
            self._events = SummaryWriter(str(self._events_folder), purge_step=before + 1 if before else None)
            self._tracked = lines[-1]["step"] if before and lines else 0
            self._trackers.start(self._run, resuming=before > 0)
        return self._events

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, trace)
        if self._events is not None:
            self._events.close()
            self._trackers.end(self._team.state.step >= self._total)


@dataclass
class Window:
    """Means of what the steps since the last line measured; read from the device only when the line is written."""

    sums: Measures = field(default_factory=dict)
    measured: Counter[str] = field(default_factory=Counter)  # steps by what they measured, which may change as a warm-up ends
    steps: int = 0
    images: int = 0
    seconds: float = 0.0  # in steps, and not in validations and checkpoints between them
    began: float = field(default_factory=time.perf_counter)  # the step that is being taken

    def add(self, measures: Measures, images: int) -> None:
        """Count one step: what it measured, and its images over all processes."""
        for name, value in measures.items():
            # the gradient of a step that float16 skips is not finite, and JSON knows no such number
            self.sums[name] = value.nan_to_num(posinf=0.0, neginf=0.0) + self.sums.get(name, 0)
        self.measured.update(measures.keys())
        self.steps += 1
        self.images += images
        self.seconds += time.perf_counter() - self.began

    def close(self, world: World) -> dict[str, float]:
        """The means over steps and processes, and images a second of all processes; the next window begins."""
        stacked = torch.stack([(value / self.measured[name]).double() for name, value in self.sums.items()])
        means = dict(zip(self.sums, distributed.mean(stacked, world).tolist(), strict=True))
        means["images_per_second"] = self.images / self.seconds
        self.sums, self.measured, self.steps, self.images, self.seconds = {}, Counter(), 0, 0, 0.0
        return means


def summary(line: dict[str, float]) -> str:
    """A line of metrics for people."""
    return " · ".join(text.format(line[name]) for name, text in SHOWN.items() if name in line)
