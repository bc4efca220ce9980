"""What is known of what is evaluated."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from pathlib import Path
from typing import Literal

import pytest
import torch
from handmade_results import TRAINING
from image_folders import image_folder
from torch import nn

import logitpair as lp
from logitpair.config import parsing, recipes
from logitpair.errors import InputError
from logitpair.runs import run_directory
from logitpair.runs.evaluation_task import EvaluationTask, first_examples, images_together, published
from logitpair.storage.result_files import write_record
from logitpair.storage.results import Published, Task

PGD = lp.attacks.PGD(lp.Linf(0.1), step_size=0.05, steps=2)
DATA = torch.zeros(20, 1, 2, 2), torch.zeros(20, dtype=torch.int64)


def test_published_numbers_stand_beside_the_recipe_s_attacks_alone() -> None:
    settings = parsing.resolve(recipes.load("mnist-alp").run)
    content = {"recipe": "mnist-alp", "scale": "paper", "run": settings.values}
    attacks = settings.config.evaluation.attacks
    assert published(content, attacks)[0].white_box == pytest.approx(0.964)
    weaker = {name: dataclasses.replace(attack, steps=1) for name, attack in attacks.items()}
    assert published(content, weaker) == ()
    assert published(content, attacks | {"more": PGD}) == ()
    content["run"]["evaluation"]["attacks"]["pgd"]["init_args"]["steps"] = 1  # which training does not depend on
    assert published(content, weaker) == ()
    assert published(content | {"scale": "smoke"}, attacks) == ()


def test_in_a_transfer_nothing_published_stands_beside_another_run_s_attacks() -> None:
    paper = Task(recipe="mine", published=(Published(source="a paper", white_box=0.9),))
    task = EvaluationTask(model=nn.Identity(), test=DATA, attacks={"pgd": PGD}, record=paper)
    assert task.under({"pgd": PGD}).record.published
    other = {"pgd": dataclasses.replace(PGD, steps=9)}
    assert task.under(other).record == Task(recipe="mine")
    assert task.under(other).attacks == other


def test_a_run_on_the_first_photos_of_some_classes_alone_is_warned_about(tmp_path: Path) -> None:
    folder = lp.data.Folder(root=image_folder(tmp_path), size=8)
    with pytest.warns(UserWarning, match="^--examples 4: only 2 of 3 classes are among the first 4 photos; they come in the order"):
        first_examples(folder.test(), 4, 3)
    with warnings.catch_warnings(action="error"):
        first_examples(folder.test(), 7, 3)
        first_examples(folder.test(), None, 4)
        first_examples(folder.validation(), 2, 3)  # in a random order
        first_examples(lp.data.Digits().test(), 2, 10)


def test_data_of_other_classes_than_the_networks_logits_are_refused_before_anything_is_attacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = image_folder(tmp_path / "three")
    two = Path(shutil.copytree(three, tmp_path / "two"))
    for split in ("train", "val"):
        shutil.rmtree(two / split / "bee")
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    monkeypatch.setattr("logitpair.runs.run_directory.load_network", lambda *_: network)
    monkeypatch.setattr("logitpair.runs.evaluation_task._step_of", lambda *_: 1)
    run_directory.prepare(tmp_path / "run", "folder-alp", "smoke", parsing.resolve(recipes.load("folder-alp").at_scale("smoke")))
    with pytest.warns(UserWarning, match="has not finished training"):
        assert EvaluationTask.from_run(tmp_path / "run", device=torch.device("cpu"), data_dir=three).record.test_images == 9
    write_record(tmp_path / "run" / "training.json", TRAINING)
    with pytest.warns(UserWarning, match="holds a checkpoint of step 1 of a training of 760; the same `train` again"):
        assert EvaluationTask.from_run(tmp_path / "run", device=torch.device("cpu"), data_dir=three).record.training is None
    monkeypatch.setattr("logitpair.runs.evaluation_task._step_of", lambda *_: 760)
    assert EvaluationTask.from_run(tmp_path / "run", device=torch.device("cpu"), data_dir=three).record.training == TRAINING
    with pytest.raises(InputError, match=r"^model: gives 3 logits for 2 classes of .* \(ant, cow\); see --model.classes, and --data-dir"):
        EvaluationTask.from_run(tmp_path / "run", device=torch.device("cpu"), data_dir=two)


@pytest.mark.parametrize(
    ("asked", "usual", "device", "together"),
    [
        (None, 64, "cuda", 64),
        (7, 64, "cuda", 7),
        ("auto", 64, "cuda", 1024),
        ("auto", 2048, "cuda", 2048),
        ("auto", 64, "cpu", 64),
    ],
)
def test_the_most_images_that_are_of_use_are_attacked_together(
    asked: int | Literal["auto"] | None, usual: int, device: str, together: int
) -> None:
    assert images_together(asked, usual, torch.device(device)) == together
