"""A trained network as a module that settings can name."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from logitpair.runs.run_directory import load


class TrainedRun(nn.Module):
    """The trained network of a run as a module with a name, for recipes: a source of ensemble adversarial training.

    The run is read when the first images come, so that settings which name it can be read without it.

    Args:
        run: a run directory.
        which: its ``last`` checkpoint or its ``best``.

    Raises:
        InputError: (when called) if the directory holds no trained run.
    """

    def __init__(self, run: Path, which: Literal["last", "best"] = "last") -> None:
        super().__init__()
        self.run = run
        self.which: Literal["last", "best"] = which
        self.network: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images in [0, 1]."""
        if self.network is None:
            with torch.random.fork_rng():  # building a network draws random weights
                self.network = load(self.run, which=self.which).requires_grad_(False).to(x)
        return self.network(x)
