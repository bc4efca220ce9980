"""Names that settings had in version 0.1, so that a run directory of that time resumes and evaluates."""

from __future__ import annotations

from typing import Any

CLASSES = {
    "logitpair.objectives.Plain": "logitpair.objectives.StandardTraining",
    "logitpair.run.Trained": "logitpair.runs.TrainedRun",
}
SETTINGS = {
    "stop_when_broken": "early_stop",
    "validation_share": "validation_fraction",
    "clean_share": "clean_weight",
}


def modernized(settings: Any) -> Any:
    """The settings of a ``config.yaml`` with the names of today, however deep the old ones stand."""
    if isinstance(settings, dict):
        return {SETTINGS.get(key, key): modernized(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [modernized(value) for value in settings]
    return CLASSES.get(settings, settings) if isinstance(settings, str) else settings
