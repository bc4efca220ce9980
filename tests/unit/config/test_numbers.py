"""Numbers as people write them."""

from __future__ import annotations

import pytest

from logitpair import InputError
from logitpair.config.numbers import parse_number, with_numbers


@pytest.mark.parametrize(("text", "value"), [("0.3", 0.3), ("1e-3", 1e-3), ("8/255", 8 / 255), ("-1.5/2", -0.75), ("7", 7.0)])
def test_numbers(text: str, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "message"), [("x", "'x' is no number such as 0.3 or 8/255"), ("1/x", "'1/x' is no number"), ("1/0", "'1/0' divides by zero")]
)
def test_what_is_no_number_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_number(text)


def test_fractions_are_numbers_in_settings_alone() -> None:
    assert with_numbers(["--attack.eps", "8/255"]) == ["--attack.eps", str(8 / 255)]
    assert with_numbers(["--attack.eps=8/255", "--out", "1/2", "3/4"]) == [f"--attack.eps={8 / 255}", "--out", "1/2", "3/4"]
