"""Settings and optimizers of version 0.1 as they are called today."""

from __future__ import annotations

from logitpair.config.old_names import modernized


def test_renamed_classes_and_settings_are_found_however_deep() -> None:
    sources = [{"class_path": "logitpair.run.Trained", "init_args": {"run": "runs/one"}}]
    attack = {"class_path": "logitpair.attacks.PGD", "init_args": {"stop_when_broken": True}}
    found = modernized({"objective": {"init_args": {"attack": attack, "clean_share": 0.3, "sources": sources}}, "seed": 1})
    arguments = found["objective"]["init_args"]
    assert arguments["clean_weight"] == 0.3
    assert arguments["attack"]["init_args"] == {"early_stop": True}
    assert arguments["sources"][0]["class_path"] == "logitpair.runs.TrainedRun"


def test_label_smoothing_is_standard_training_and_other_smoothing_keeps_its_name() -> None:
    old = {"class_path": "logitpair.objectives.LabelSmoothing", "init_args": {"smoothing": 0.1}}
    assert modernized(old) == {"class_path": "logitpair.objectives.StandardTraining", "init_args": {"label_smoothing": 0.1}}
    attack = {"class_path": "logitpair.attacks.DiversifiedPGD", "init_args": {"smoothing": 0.4}}
    assert modernized(attack) == attack
