"""A run directory, and what may be done with it."""

from logitpair.runs.trained_run import TrainedRun

__all__ = ["TrainedRun"]
