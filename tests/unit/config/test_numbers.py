"""Numbers as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from logitpair import InputError
from logitpair.config import parsing, recipes
from logitpair.config.numbers import parse_number


@pytest.mark.parametrize(("text", "value"), [("0.3", 0.3), ("1e-3", 1e-3), ("8/255", 8 / 255), ("-1.5/2", -0.75), ("7", 7.0)])
def test_numbers(text: str, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "message"), [("x", "'x' is no number such as 0.3 or 8/255"), ("1/x", "'1/x' is no number"), ("1/0", "'1/0' divides by zero")]
)
def test_what_is_no_number_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_number(text)


def test_fractions_are_numbers_where_a_setting_is_one() -> None:
    options = ["--objective.attack.threat.eps", "8/255", "--evaluation.curve=[0, 8/255]", "--ema", "1/2", "--optimizer.lr=1/1000"]
    config = parsing.resolve(recipes.load("digits-alp").run, options).config
    assert (config.objective.attack.threat.eps, config.evaluation.curve, config.ema) == (8 / 255, (0, 8 / 255), 0.5)
    assert config.optimizer([torch.nn.Parameter(torch.zeros(1))]).defaults["lr"] == 1 / 1000
    with pytest.raises(InputError, match="'1/0' divides by zero"):
        parsing.resolve(recipes.load("digits-alp").run, ["--ema", "1/0"])
    with pytest.raises(InputError, match="batch_size: expected a whole number"):
        parsing.resolve(recipes.load("digits-alp").run, ["--batch_size", "1/2"])


@pytest.mark.parametrize("text", ["8/255", "8 / 255", "+8/255", "8./255.", ".8/25.5"])
def test_fractions_are_written_in_several_ways(text: str, tmp_path: Path) -> None:
    options = ["--objective.attack.threat.eps", text]
    assert parsing.resolve(recipes.load("digits-alp").run, options).config.objective.attack.threat.eps == pytest.approx(8 / 255)


def test_a_folder_may_look_like_a_fraction() -> None:
    config = parsing.resolve(recipes.load("mnist-alp").run, ["--data.root", "2024/11"]).config
    assert config.data.root == Path("2024/11")
