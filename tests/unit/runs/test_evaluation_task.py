"""What is known of what is evaluated, and which evaluations it may not be written over."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from image_folders import image_folder
from torch import nn

import logitpair as lp
from logitpair import InputError
from logitpair.cli.commands.transfer import _under
from logitpair.cli.options import check_folder_name
from logitpair.config import recipes
from logitpair.data import first
from logitpair.evaluation.attack_run import check_name
from logitpair.runs.evaluation_task import EvaluationTask, _tell_missing as tell_missing, published, refuse_overwriting
from logitpair.storage.class_path import describe

PGD = lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=2)
DATA = torch.zeros(20, 1, 2, 2), torch.zeros(20, dtype=torch.int64)
NETWORK = {"name": "timm:resnet18", "weights": "w.pt", "pretrained": False, "classes": None, "mean": None, "std": None, "labels": None}


def subject(**about: Any) -> EvaluationTask:
    return EvaluationTask(nn.Identity(), DATA, {"pgd": PGD}, about=about)


def written(folder: Path, images: bool = False, **about: Any) -> Path:
    entry = {"parameters": describe(PGD)} | ({"images": {"folder": "x", "eps": 0.1}} if images else {})
    (folder / "results.json").write_text(json.dumps({"examples": 20, "attacks": {"pgd": entry}, "black_box": {}, **about}))
    return folder


def test_the_same_again_is_written_over(tmp_path: Path) -> None:
    refuse_overwriting(written(tmp_path, checkpoint="last"), subject(checkpoint="last"))
    refuse_overwriting(written(tmp_path, images=True, network=NETWORK), subject(network=NETWORK), kept=True)


def test_an_evaluation_whose_images_are_kept_is_not_written_over_by_one_that_keeps_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds an evaluation with --keep-adversarial, which this one is without"):
        refuse_overwriting(written(tmp_path, images=True), subject())


def test_another_checkpoint_is_not_written_over_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^--checkpoint: .* holds an evaluation of last, this one is of best"):
        refuse_overwriting(written(tmp_path, checkpoint="last"), subject(checkpoint="best"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mean": [0.5], "std": [0.5]}, r"timm:resnet18 with --mean None"),
        ({"labels": "names.txt"}, "timm:resnet18 with --labels None"),
        ({"classes": 10}, "timm:resnet18 with --classes None"),
        ({"name": "timm:vit"}, "of timm:resnet18;"),
    ],
)
def test_a_network_of_one_s_own_given_otherwise_is_another(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        refuse_overwriting(written(tmp_path, network=NETWORK), subject(network=NETWORK | change))
    with pytest.raises(InputError, match="holds an evaluation of a run"):
        refuse_overwriting(written(tmp_path, checkpoint="last"), subject(network=NETWORK, checkpoint=None))


def test_published_numbers_stand_beside_the_recipe_s_attacks_alone() -> None:
    settings = recipes.resolve(recipes.load("mnist-alp").run)
    content = {"recipe": "mnist-alp", "scale": "paper", "run": yaml.safe_load(settings.text)}
    attacks = settings.config.evaluation.attacks
    assert published(content, attacks)[0]["white_box"] == pytest.approx(0.964)
    weaker = {name: dataclasses.replace(attack, steps=1) for name, attack in attacks.items()}
    assert published(content, weaker) == []
    assert published(content, attacks | {"more": PGD}) == []
    content["run"]["evaluation"]["attacks"]["pgd"]["init_args"]["steps"] = 1  # which training does not depend on
    assert published(content, weaker) == []
    assert published(content | {"scale": "smoke"}, attacks) == []


def test_in_a_transfer_nothing_published_stands_beside_another_run_s_attacks() -> None:
    of = subject(published=[{"source": "a paper", "white_box": 0.9}])
    assert _under({"pgd": PGD}, of).about["published"]
    other = {"pgd": dataclasses.replace(PGD, steps=9)}
    assert _under(other, of).about["published"] == []
    assert _under(other, of).attacks == other


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_what_is_no_name_of_a_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="^--name: "):
        check_folder_name("--name", name)
    with pytest.raises(InputError, match="^--source: "):
        check_name("--source", name)


@pytest.mark.parametrize("content", ['{"examples": 20, "att', "[]", '{"examples": 20}'])
def test_a_damaged_evaluation_is_not_written_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=r"results.json' is damaged; delete the folder or give another --name"):
        refuse_overwriting(tmp_path, subject())
    refuse_overwriting(tmp_path / "new", subject())


def test_a_run_on_the_first_photos_of_some_classes_alone_is_warned_about(tmp_path: Path) -> None:
    folder = lp.data.Folder(root=image_folder(tmp_path), size=8)
    with pytest.warns(UserWarning, match="^--examples 4: only 2 of 3 classes are among the first 4 photos; they come in the order"):
        tell_missing(first(folder.test(), 4), 3)
    with warnings.catch_warnings(action="error"):
        tell_missing(first(folder.test(), 7), 3)
        tell_missing(first(folder.validation(), 2), 3)  # in an order of chance
        tell_missing(first(lp.data.Digits().test(), 2), 10)
