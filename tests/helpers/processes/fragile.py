"""A network whose process is killed once, in the middle of training, as by a machine that fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from torch import Tensor

from logitpair.models import SmallConvNet


class Fragile(SmallConvNet):
    """Process 1 dies in its seventh training forward, unless the file ``killed`` says that it has."""

    def __init__(self, killed: str, classes: int = 10) -> None:
        super().__init__(classes=classes, channels=1, size=8, width=4)
        self.killed, self.forwards = Path(killed), 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += self.training
        if self.forwards == 7 and os.environ.get("RANK") == "1" and not self.killed.exists():
            self.killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)
