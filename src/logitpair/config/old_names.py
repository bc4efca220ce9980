"""Names that recipes, settings and optimizers had in version 0.1, so that a run directory of that time resumes and evaluates."""

from typing import Any

CLASSES = {
    "logitpair.objectives.LabelSmoothing": "logitpair.objectives.StandardTraining",
    "logitpair.objectives.Plain": "logitpair.objectives.StandardTraining",
    "logitpair.run.Trained": "logitpair.runs.TrainedRun",
}
RECIPES = {"mnist-alp-cpu": "mnist-alp --scale cpu"}
SETTINGS = {
    "stop_when_broken": "early_stop",
    "validation_share": "validation_fraction",
    "clean_share": "clean_weight",
}
SETTINGS_OF = {"logitpair.objectives.LabelSmoothing": {"smoothing": "label_smoothing"}}
RMSPROP = {"mean_square": "square_avg", "velocity": "momentum_buffer", "decay": "alpha"}


def modernized(settings: Any, names: dict[str, str] = SETTINGS) -> Any:
    """The settings of a ``config.yaml`` with the names of today, however deep the old ones are."""
    if isinstance(settings, dict):
        own = SETTINGS | SETTINGS_OF.get(str(settings.get("class_path")), {})
        return {names.get(key, key): modernized(value, own if key == "init_args" else SETTINGS) for key, value in settings.items()}
    if isinstance(settings, list):
        return [modernized(value) for value in settings]
    return CLASSES.get(settings, settings) if isinstance(settings, str) else settings


def modernized_optimizer(saved: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimizer from a checkpoint; that of the former ``RMSProp`` by the names of timm's, whose ``own`` state has more."""
    if not ("decay" in saved["param_groups"][0] and "alpha" in own["param_groups"][0]):
        return saved
    slots = {index: {RMSPROP[name]: value for name, value in slot.items()} for index, slot in saved["state"].items()}
    groups = [{RMSPROP.get(name, name): value for name, value in group.items()} for group in saved["param_groups"]]
    return {
        "state": {index: {"step": 0, **slot} for index, slot in slots.items()},
        "param_groups": [defaults | group for defaults, group in zip(own["param_groups"], groups, strict=True)],
    }
