"""The checkpoints of a run, and the file that ends it."""

import json
import time
from pathlib import Path

from msgspec import to_builtins

from logitpair.config.run_config import RunConfig
from logitpair.runtime import environment, precision
from logitpair.storage import checkpoint
from logitpair.storage.atomic_files import atomic_write
from logitpair.training.process_team import ProcessTeam


class Checkpoints:
    """Written by the one of the team's processes that writes files."""

    def __init__(self, run: Path, config: RunConfig, team: ProcessTeam) -> None:
        self.folder, self._end = run / "checkpoints", run / "training.json"
        self._config, self._team = config, team
        self._saved, self._clock = team.state.step, time.perf_counter()

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint, if there is none of this step."""
        state, now = self._team.state, time.perf_counter()
        state.seconds, self._clock = state.seconds + now - self._clock, now
        if state.step > self._saved and self._team.is_writer():
            checkpoint.save(self.folder, state.state_dict(), state.step, self._config.checkpoints_kept, best)
            self._saved = state.step

    def finish(self) -> None:
        """Write ``training.json``: what the training took, validation and checkpoints included, time lost to a kill not."""
        if not self._team.is_writer():
            return
        device = self._team.world.device
        record = {
            "steps": self._team.state.step,
            "seconds": round(self._team.state.seconds, 1),
            "processes": self._team.size,
            "recoveries": to_builtins(self._team.state.recoveries),
            "precision": precision.name_of(self._config.precision, device),
            "versions": environment.versions(),
            "hardware": environment.hardware(device),
        }
        atomic_write(self._end, json.dumps(record, indent=2) + "\n")
