"""How settings are refused: the setting by its whole name, the value, what is accepted, in one line."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import LeastLikely
from logitpair.config import attack_specs, parsing, recipes
from logitpair.config.refusals import one_line, refusals, whole_names

ENSEMBLE = [
    *("--objective", "EnsembleAdversarialTraining", "--objective.attack", "PGD", "--objective.attack.threat.eps", "0.1"),
    *("--objective.attack.step_size", "0.1", "--objective.attack.steps", "1", "--objective.sources"),
]


@dataclass(frozen=True)
class Picky(LeastLikely):
    """A target that refuses whatever it is given."""

    rank: int = 1

    def __post_init__(self) -> None:
        raise InputError(f"rank must be at least 2, not {self.rank}")


def recipe_with(setting: str, value: object) -> dict[str, Any]:
    """What a recipe trains by, with another value of the setting of this dotted name."""
    run = part = copy.deepcopy(recipes.load("digits-alp").run)
    *path, name = setting.split(".")
    for key in path:
        part = part.setdefault(key, {})
    part[name] = value
    return run


def refused(*overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        parsing.resolve(recipes.load("digits-alp").run, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("objective.weight", "nan", "objective.weight: expected a number, not 'nan'"),
        ("objective.attack.steps", "1.5", "objective.attack.steps: expected a whole number, not '1.5'"),
        ("objective.attack.random_start", "3", "objective.attack.random_start: expected true or false, not '3'"),
        ("objective.attack.target", "Foo", "objective.attack.target: expected an import path such as package.module.Name, not 'Foo'"),
        (
            "objective.wieght",
            "1",
            "objective: Option 'wieght' is not accepted by logitpair.objectives.AdversarialLogitPairing; "
            "accepted: attack, label_smoothing, warmup, clean_weight, weight_warmup, weight, pairing",
        ),
        ("model.width", "x", "model.width: expected a whole number, not 'x'"),
        ("optimizer.lr", "x", "optimizer.lr: expected a number, not 'x'"),
        ("ema", "x", "ema: expected a number, not 'x'"),
        ("precision", "int8", "precision: expected 'auto', 'float32', 'bfloat16', 'float16', not 'int8'"),
        ("evaluation.curve", "x", "evaluation.curve: expected a list such as [a,b], not 'x'"),
        ("fine_tuning.trainable", "hidden", "fine_tuning.trainable: expected a list such as [a,b], not 'hidden'"),
    ],
)
def test_a_wrong_type_names_the_settings_whole_name(option: str, value: str, message: str) -> None:
    assert refused(f"--{option}", value) == message


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("decay_all", "decay_all: expected true or false, not empty or null"),
        ("precision", "precision: expected 'auto', 'float32', 'bfloat16', 'float16', not empty or null"),
        ("epochs", "the following arguments are required: epochs"),
        ("validation.examples", "validation.examples: expected a whole number, not empty or null"),
        ("fine_tuning", "fine_tuning: expected a mapping of weights, trainable, fresh, not 'None'"),
        ("fine_tuning.trainable", "fine_tuning.trainable: expected a list such as [a,b], not empty or null"),
        ("ema", None),
        ("elastic.workers", None),
        ("objective.init_args.attack.init_args.target", None),
    ],
)
def test_an_empty_value_is_refused_where_nothing_is_no_value_of_the_setting(setting: str, said: str | None) -> None:
    run = recipe_with(setting, None)
    if said is None:
        parsing.resolve(run)
        return
    with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
        parsing.resolve(run)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("epochz", "epochz: there is no such setting; accepted: data, model, objective, optimizer, "),
        ("out", "out: there is no such setting; accepted: data, "),
        ("elastic.worker", "elastic.worker: there is no such setting; accepted: workers, lighthouse, timeout"),
        ("validation", "validation: expected a mapping of attack, every, examples, recovery, not '3'"),
        (
            "model.init_args.widht",
            "model: Option 'widht' is not accepted by logitpair.models.SmallConvNet; accepted: classes, channels, size, width",
        ),
    ],
)
def test_a_setting_that_there_is_none_of_is_refused_with_those_that_there_are(setting: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        parsing.resolve(recipe_with(setting, 3))


def test_what_a_recipe_says_is_refused_by_its_name_and_what_overrides_it_is_not() -> None:
    run = recipe_with("objective.init_args.weight", -1)
    said = "objective.weight must be at least 0, not -"
    with pytest.raises(InputError, match=f"^recipe: mine.yaml: {said}1"), parsing.naming_recipe("mine.yaml", run):
        parsing.resolve(run, ["--epochs", "1"])
    with pytest.raises(InputError, match=f"^{said}2"), parsing.naming_recipe("mine.yaml", run):
        parsing.resolve(run, ["--objective.weight", "-2"])
    with parsing.naming_recipe("mine.yaml", run):
        parsing.resolve(run, ["--objective.weight", "2"])


def test_a_radius_alone_is_of_the_l_infinity_ball_and_another_threat_model_has_its_class() -> None:
    run = recipes.load("digits-alp").run
    assert parsing.resolve(run).config.objective.attack.threat == lp.Linf(0.2)
    assert parsing.resolve(run, ["--objective.attack.threat.eps", "51/255"]).config.objective.attack.threat == lp.Linf(0.2)
    for path in ("logitpair.L2", "L2"):
        settings = parsing.resolve(run, ["--objective.attack.threat", path, "--objective.attack.threat.eps", "1.5"])
        assert settings.config.objective.attack.threat == lp.L2(1.5)
        assert parsing.resolve(settings.values, ["--objective.attack.threat.eps", "0.5"]).config.objective.attack.threat == lp.L2(0.5)


def test_what_a_class_in_a_union_refuses_keeps_its_own_words() -> None:
    message = "rank must be at least 2, not 1"
    assert refused("--objective.attack.target.class_path", f"{__name__}.Picky") == f"objective.attack.target.{message}"
    pgd = {"threat": {"eps": 0.1}, "step_size": 0.1, "steps": 1, "target": {"class_path": f"{__name__}.Picky"}}
    with pytest.raises(InputError, match=f"^{message}$"), refusals():
        attack_specs._named("a", {"class_path": "logitpair.attacks.PGD", "init_args": pgd})


def test_what_a_class_refuses_has_the_settings_whole_name_where_one_alone_is_meant() -> None:
    assert refused("--objective.attack.steps", "0") == "objective.attack.steps must be a whole number of at least 1, not 0"
    assert refused("--objective.attack.threat.eps", "2").startswith("objective.attack.threat.eps must be at most 1, ")
    with pytest.raises(InputError, match="^eps must be at least 0, not -1$"), whole_names({"a.eps": -1, "b.eps": -1.0}):
        raise InputError("eps must be at least 0, not -1")
    with (
        pytest.raises(InputError, match="^b.eps must be at least 0, not -1$"),
        whole_names({"a.eps": 1, "b.init_args.eps": -1.0, "eps2": -1}),
    ):
        raise InputError("eps must be at least 0, not -1")


def test_a_source_that_cannot_be_built_is_one_line() -> None:
    assert refused(*ENSEMBLE, '[{"class_path": "logitpair.models.SmallConvNet", "init_args": {"width": -1}}]').startswith("width must be")
    message = refused(*ENSEMBLE, '[{"class_path": "torch.nn.Linear", "init_args": {"in_features": -1, "out_features": 2}}]')
    assert message.startswith("cannot be built from these settings: ")
    assert "-1" in message


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("RevNet9", ["channels", "1", "width", "64", "reversible", "false"]),
        ("RevNet", ["units", "[1,2]", "widths", "[8,8,16]", "reversible", "false"]),
        ("InceptionV3", ["classes", "10", "size", "75"]),
        ("ResNet101", ["classes", "10", "pretrained", "true"]),
        ("ResNetV2_50", ["classes", "200", "small_stem", "true"]),
    ],
)
def test_a_network_is_named_by_its_import_path(model: str, settings: list[str]) -> None:
    options = [f"--model.{text}" if place % 2 == 0 else text for place, text in enumerate(settings)]
    resolved = parsing.resolve(recipes.load("digits-alp").run, ["--model", f"logitpair.models.{model}", *options])
    assert callable(resolved.config.model)


def test_a_function_of_another_library_gives_a_network_for_each_run() -> None:
    model = {"class_path": "torchvision.models.resnet18", "init_args": {"num_classes": 3}}
    config = parsing.resolve(recipes.load("digits-alp").run | {"model": model}).config
    one, other = config.model(), config.model()
    assert one is not other
    assert one.fc.out_features == 3


def test_a_list_of_layers_may_be_written_without_quotes() -> None:
    config = parsing.resolve(recipes.load("digits-alp").run, ["--fine_tuning.trainable", "[hidden,logits]"]).config
    assert config.fine_tuning.trainable == ("hidden", "logits")


def test_fresh_layers_without_weights_are_refused() -> None:
    assert "fine_tuning.weights is not given" in refused("--fine_tuning.fresh", '["logits"]')


def test_what_is_not_recognised_keeps_its_own_words() -> None:
    assert one_line(ValueError("something new\nin two lines")) == "something new"
    assert one_line(ValueError('Parser key "a":\n  something new')) == 'Parser key "a":'


def test_the_folder_of_the_data_goes_over_that_of_the_recipe(tmp_path: Path) -> None:
    settings = parsing.resolve(recipes.load("mnist-alp").run, ["--epochs", "1"], data_dir=tmp_path)
    assert settings.config.data.root == tmp_path
    assert settings.values["data"]["init_args"]["root"] == str(tmp_path)
    assert settings.values["epochs"] == 1


def test_settings_are_flat_by_their_dotted_names() -> None:
    assert parsing.flatten({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}
    assert parsing.flatten({}) == {}
