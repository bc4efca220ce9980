"""Recipes: each parses at each scale, and what is none is refused in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from logitpair import InputError, data
from logitpair.config import RunConfig, parsing, recipes
from logitpair.models import ResNetV2_50
from logitpair.training.train_state import initial_state


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_parses_at_every_scale_and_resolved_to_itself(name: str) -> None:
    recipe = recipes.load(name)
    every = {scale: parsing.resolve(recipe.at_scale(scale)) for scale in ("paper", *recipe.scales)}
    for settings in every.values():
        assert isinstance(settings.config, RunConfig)
        assert settings.config.evaluation.attacks
    paper, again = every["paper"], parsing.resolve(every["paper"].values)
    assert again.values == paper.values
    if "sources" not in paper.values["objective"]["init_args"]:  # networks are equal only to themselves
        assert again.config.objective == paper.config.objective
    assert again.config.evaluation == paper.config.evaluation


def test_every_recipe_says_what_it_is() -> None:
    assert all(recipes.load(name).about["summary"] for name in recipes.names())


def test_an_unknown_recipe_gives_near_matches() -> None:
    with pytest.raises(InputError, match="no recipe 'digits-apl'; did you mean digits-alp"):
        recipes.load("digits-apl")
    with pytest.raises(InputError, match="no recipe 'mnist-alp-cpu'; it is now mnist-alp --scale cpu$"):
        recipes.load("mnist-alp-cpu")
    with pytest.raises(InputError, match="no file '.*nowhere.yaml'"):
        recipes.load("nowhere.yaml")


@pytest.mark.parametrize("content", ["", "- a list", "about: {summary: x}", "run: [1]", "run: {", "\x00"])
def test_a_file_that_is_no_recipe(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match="mine.yaml") as refused:
        recipes.load(str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("written", ["8/255", "'8/255'", '"8/255"'])
def test_fractions_are_numbers_in_a_file(tmp_path: Path, written: str) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(recipes.to_yaml({"run": recipes.load("digits-mpgd").run}).replace("eps: 0.2", f"eps: {written}"))
    assert parsing.resolve(recipes.load(str(recipe)).run).config.objective.attack.threat.eps == 8 / 255


BASE = """
about: {summary: of the base, clean: 98, deviations: {cpu: fewer epochs}}
run: {epochs: 10, ema: 0.9, optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1, momentum: 0.9}}, model: {class_path: a.B}}
scales: {smoke: {epochs: 1, ema: 0.5}, cpu: {epochs: 5}}
"""


def test_a_recipe_that_is_like_another_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "within").mkdir()
    (tmp_path / "within" / "mine.yaml").write_text(
        "like: ../base.yaml\nabout: {summary: mine, deviations: {other: two epochs}}\n"
        "run: {optimizer: {init_args: {lr: 0.2}}, model: {class_path: c.D, init_args: {width: 3}}, ema: null}\n"
        "scales: {smoke: {epochs: 2}, other: {epochs: 3}}\n"
    )
    mine = recipes.load(str(tmp_path / "within" / "mine.yaml"))
    assert mine.name == "mine"
    assert mine.about == {"summary": "mine", "deviations": {"cpu": "fewer epochs", "other": "two epochs"}}, "numbers are another's"
    assert mine.run == {
        "epochs": 10,
        "ema": None,
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.2, "momentum": 0.9}},
        "model": {"class_path": "c.D", "init_args": {"width": 3}},
    }
    assert mine.scales == {"cpu": {"epochs": 5}, "other": {"epochs": 3}, "smoke": {"epochs": 2, "ema": 0.5}}
    (tmp_path / "only.yaml").write_text("like: within/mine.yaml\n")
    assert recipes.load(str(tmp_path / "only.yaml")).run == mine.run, "of one that is like a third"
    (tmp_path / "shipped.yaml").write_text("like: digits-plain\nrun: {epochs: 1}\n")
    assert recipes.load(str(tmp_path / "shipped.yaml")).run == recipes.load("digits-plain").run | {"epochs": 1}


@pytest.mark.parametrize(
    ("like", "said"),
    [
        ("mine.yaml", r"mine.yaml is like itself; accepted: the name of another recipe, or its path"),
        ("other.yaml", r"mine.yaml is like itself"),
        (
            "nowhere.yaml",
            r"mine.yaml names what it is like, but there is no file '.*/nowhere.yaml'; accepted: a path from the folder of mine",
        ),
        ("digits-apl", r"no recipe 'digits-apl'; did you mean digits-alp"),
        ("[digits-alp]", r"mine.yaml is like \['digits-alp'\]; accepted: the name of another recipe"),
        ("", r"has no mapping `run:`"),
    ],
)
def test_what_a_recipe_cannot_be_like(tmp_path: Path, like: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"like: {like}\n")
    (tmp_path / "other.yaml").write_text("like: mine.yaml\n")
    with pytest.raises(InputError, match=said):
        recipes.load(str(tmp_path / "mine.yaml"))


def test_an_inherited_scale_may_be_dropped_and_goes_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "mine.yaml").write_text("like: base.yaml\nrun: {epochs: 2}\nscales: {cpu: }\n")
    mine = recipes.load(str(tmp_path / "mine.yaml"))
    assert mine.scales == {"smoke": {"epochs": 1, "ema": 0.5}}
    assert mine.about == {}
    assert mine.at_scale("smoke")["epochs"] == 1
    with pytest.raises(InputError, match="has no scale 'cpu'"):
        mine.at_scale("cpu")


@pytest.mark.parametrize(
    ("base", "change", "merged"),
    [
        ("a.B", {"init_args": {"w": 1}}, {"class_path": "a.B", "init_args": {"w": 1}}),
        ({"eps": 1}, {"eps": 2}, {"eps": 2}),
        ({"eps": 1}, {"init_args": {"eps": 2}}, {"init_args": {"eps": 2}}),
        ({"class_path": "a.B", "init_args": {"eps": 1}}, {"eps": 2}, {"eps": 2}),
        (
            {"class_path": "a.B", "init_args": {"w": 1, "v": 3}},
            {"init_args": {"w": 2}},
            {"class_path": "a.B", "init_args": {"w": 2, "v": 3}},
        ),
        ({"class_path": "a.B", "init_args": {"w": 1}}, {"class_path": "a.B"}, {"class_path": "a.B"}),
        ({"class_path": "a.B"}, "c.D", "c.D"),
    ],
)
def test_a_class_in_its_short_form_is_not_mixed_with_the_long_one(base: Any, change: Any, merged: Any) -> None:
    assert recipes.Recipe("mine", {}, {"x": base}, {"small": {"x": change}}).at_scale("small") == {"x": merged}


def test_settings_beside_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("like: digits-plain\nepochs: 1\n")
    with pytest.raises(InputError, match=r"mine.yaml has 'epochs' beside like, about, run, scales; what is trained by goes below `run:`$"):
        recipes.load(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("part", ["about: my notes", "about: {deviations: fewer}", "scales: [cpu]", "scales: {cpu: 3}"])
def test_a_part_that_is_no_mapping_is_refused(tmp_path: Path, part: str) -> None:
    for like in ("", "like: digits-plain\n"):
        (tmp_path / "mine.yaml").write_text(f"{like}run: {{epochs: 1}}\n{part}\n")
        with pytest.raises(InputError, match=r"recipe: '\w+' in .*mine.yaml is .*; accepted: a mapping$"):
            recipes.load(str(tmp_path / "mine.yaml"))


def test_the_config_of_a_run_is_a_recipe_of_that_name_and_scale_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("recipe: digits-alp\nrun: {epochs: 1}\nscale: smoke\n")
    recipe = recipes.load(str(path))
    assert (recipe.name, recipe.scale, recipe.at_scale("smoke")) == ("digits-alp", "smoke", {"epochs": 1})
    with pytest.raises(InputError, match="recipe digits-alp has no scale 'paper'; accepted: smoke"):
        recipe.at_scale("paper")
    path.write_text("like: digits-alp\nscale: smoke\n")
    with pytest.raises(InputError, match="config.yaml has 'scale' beside like, about, run, scales"):
        recipes.load(str(path))


def test_dates_and_empty_arguments_are_what_they_are_meant_as(tmp_path: Path, no_shape_checks: None) -> None:
    recipe, text = tmp_path / "mine.yaml", (recipes.FOLDER / "digits-plain.yaml").read_text()
    recipe.write_text(text.replace("logitpair.data.Digits", "logitpair.data.Folder\n    init_args: {root: 2024-11-26}"))
    settings = parsing.resolve(recipes.load(str(recipe)).run)
    assert settings.config.data.root == Path("2024-11-26")
    recipe.write_text(recipes.to_yaml({"run": settings.values}))
    assert parsing.resolve(recipes.load(str(recipe)).run).config.data.root == Path("2024-11-26")
    recipe.write_text(text.replace("logitpair.data.Digits", "logitpair.data.Digits\n    init_args:"))
    assert parsing.resolve(recipes.load(str(recipe)).run).config.data == data.Digits()
    recipe.write_text(re.sub(r"    curve: \[.*", "    curve:", text))
    with pytest.raises(InputError, match=r"evaluation.curve: expected a list such as \[a,b\], not empty or null"):
        parsing.resolve(recipes.load(str(recipe)).run)
    recipe.write_text(re.sub(r"    curve: \[.*", "    curve: [0, 2]", text))
    with pytest.raises(InputError, match=r"evaluation.curve: eps must be at most 1, .* not 2"):
        parsing.resolve(recipes.load(str(recipe)).run)
    recipe.write_text(text.replace("class_path: logitpair.data.Digits", "class_path:"))
    with pytest.raises(InputError, match=r"mine.yaml cannot be read: line \d+, 'class_path' is empty; it names a class"):
        recipes.load(str(recipe))
    recipe.write_text(text.replace("class_path: logitpair.data.Digits", "class_path: 3"))
    with pytest.raises(InputError, match=r"mine.yaml cannot be read: line \d+, 'class_path' is 3; it names a class"):
        recipes.load(str(recipe))


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text((recipes.FOLDER / "digits-plain.yaml").read_text() + "run: {epochs: 1}\n")
    with pytest.raises(InputError, match=r"mine.yaml cannot be read: line \d+, 'run' is given twice"):
        recipes.load(str(recipe))
    recipe.write_text("run: &common {epochs: 1}\nscales: {small: {<<: *common, epochs: 2}}\n")
    assert recipes.load(str(recipe)).scales == {"small": {"epochs": 2}}


def test_files_are_utf_8_whatever_the_locale_and_may_begin_with_its_mark(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes("\ufeff# Größe\nrun: {epochs: 1}\nabout: {summary: für Ziffern}\n".encode())
    assert recipes.load(str(recipe)).about["summary"] == "für Ziffern"


def test_a_file_with_the_names_of_version_0_1_is_read(tmp_path: Path) -> None:
    recipe = tmp_path / "old.yaml"
    text = (recipes.FOLDER / "digits-alp.yaml").read_text()
    recipe.write_text(text.replace("weight:", "clean_share: 0.25\n      weight:", 1))
    assert parsing.resolve(recipes.load(str(recipe)).run).config.objective.clean_weight == 0.25


def test_the_recipes_of_the_release_do_what_its_code_does() -> None:
    whole, tuned = (parsing.resolve(recipes.load(name).run).values for name in ("imagenet64-alp", "tiny-imagenet-alp"))
    assert whole["optimizer"]["init_args"]["lr"] == 0.045 * 50, "times the replicas"
    assert whole["batch_size"] == 32 * 50
    assert (whole["objective"]["init_args"]["weight"], tuned["objective"]["init_args"]["weight"]) == (0.25, 0.5)
    assert (tuned["optimizer"]["init_args"]["lr"], tuned["batch_size"]) == (0.02, 32)
    assert (tuned["data"]["init_args"]["scale"], tuned["data"]["init_args"]["flip"]) == ([0.5, 1.0], False)
    assert (tuned["fine_tuning"]["trainable"], tuned["fine_tuning"]["fresh"]) == (["network.model.norm"], ["network.model.head"])
    for settings in (whole, tuned):
        assert settings["optimizer"]["class_path"] == "logitpair.optim.RMSProp"
        optimizer = {"decay": 0.9, "momentum": 0.9, "eps": 1.0, "weight_decay": 1e-4}
        assert {key: settings["optimizer"]["init_args"][key] for key in optimizer} == optimizer
        assert (settings["decay_all"], settings["ema"]) == (True, 0.9999)
        assert (settings["objective"]["init_args"]["label_smoothing"], settings["objective"]["init_args"]["warmup"]) == (0.1, 0.0)
        assert settings["schedule"]["init_args"] == {"gamma": 0.94, "every": 2.0, "staircase": True}


def test_fine_tuning_as_the_release_trains_the_last_batch_norm_and_a_new_last_layer(tmp_path: Path) -> None:
    model = ResNetV2_50(classes=1000)
    torch.save(model.state_dict(), tmp_path / "imagenet.pt")
    config = parsing.resolve(recipes.load("tiny-imagenet-alp").run, [f"--fine_tuning.weights={tmp_path / 'imagenet.pt'}"]).config
    state = initial_state(config, torch.device("cpu"), resuming=False)
    trained = {name for name, parameter in state.model.named_parameters() if parameter.requires_grad}
    assert trained == {f"network.model.{name}" for name in ("norm.weight", "norm.bias", "head.fc.weight", "head.fc.bias")}
    assert torch.equal(state.model.state_dict()["network.model.norm.weight"], model.state_dict()["network.model.norm.weight"])
    assert state.model.state_dict()["network.model.head.fc.bias"].shape == (200,)


@pytest.mark.parametrize("content", ["run: &all {data: *all}", "[" * 5000 + "]" * 5000])
def test_a_file_without_an_end_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(InputError, match=r"mine.yaml (is nested too deeply|cannot be read: Circular .*|is not YAML: .*depth)$"):
        recipes.read_yaml(tmp_path / "mine.yaml")
