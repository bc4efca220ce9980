"""What a card says of a run, and of which weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from handmade_audits import audit
from handmade_results import CERTIFICATE
from handmade_runs import accuracy, evaluation, in_turn, suite
from msgspec.structs import replace

from logitpair import InputError
from logitpair.report.records import Run
from logitpair.report.text.model_card import model_card


def run_of(**changes: Any) -> Run:
    """A run whose records are all of the weights 0123."""
    records = {
        "evaluations": (replace(suite(), weights="0123", ledger_sha256="abcd"),),
        "audit": replace(audit(20, "trustworthy"), weights="0123"),
        "certificate": replace(CERTIFICATE, weights="0123", certified=accuracy(12), network=None, ledger_sha256="ef01"),
    }
    return Run(name="net", path="runs/net", recipe="pets-alp", scale="cpu", **(records | changes))


def rows(card: str) -> dict[str, list[str]]:
    """The table's cells by the first of each row."""
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in card.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines[1:]}


def test_of_attacks_in_turn_the_card_says_what_they_leave_together() -> None:
    table = rows(model_card(run_of(evaluations=(replace(in_turn(), weights="0123"),)), "me/net", "0123"))
    assert [name for name in table if "white box" in name] == ["white box, any attack"]
    assert table["white box, any attack"][0] == "45.0%"


def test_every_measure_stands_with_its_interval_its_threat_model_and_its_hash() -> None:
    card = model_card(run_of(), "me/net", "0123")
    table = rows(card)
    assert [name for name in table if name] == [
        "clean",
        "white box, pgd",
        "white box, step",
        "white box, any attack",
        "black box, images made against other",
        "audited: trustworthy",
        "certified",
    ]
    assert table["white box, any attack"][:3] == ["45.0%", "38.3 \N{EN DASH} 51.9%", "200"]
    assert table["certified"] == ["6.0%", "3.5 \N{EN DASH} 10.2%", "200", "`Linf(eps=0.1)`, ibp, crown-ibp"]
    assert "threat=Linf(eps=0.2)" in table["white box, pgd"][3]
    assert "`Linf(eps=0.2)`" in table["audited: trustworthy"][3]
    for part in ("lower bound", "buffers: `0123`", "example: `abcd`", "example: `ef01`", "--eps 0.1 --norm linf --method crown-ibp"):
        assert part in card


def test_the_settings_that_were_used_stand_there_whatever_the_recipe_says() -> None:
    settings = {"epochs": 1.5, "objective": {"init_args": {"weight": 123.0}}}
    card = model_card(run_of(settings=settings), "me/net", "0123")
    assert yaml.safe_load(card.partition("```yaml\n")[2].partition("```")[0]) == {"run": settings}


def test_the_certificate_of_an_audit_counts_where_the_run_has_none_of_its_own() -> None:
    given = replace(audit(20, certified=accuracy(8)), weights="0123")
    assert rows(model_card(run_of(certificate=None, audit=given), "me/net", "0123"))["certified"] == [
        *("4.0%", "2.0 \N{EN DASH} 7.7%", "200"),
        "`Linf(eps=0.2)`",
    ]
    card = model_card(run_of(certificate=None, audit=None), "me/net", "0123")
    assert "certified" not in rows(card)
    assert "lower bound" not in card


def test_results_of_other_weights_are_refused(tmp_path: Path) -> None:
    stale: dict[str, Any] = {
        "evaluations": (evaluation(),),
        "audit": audit(),
        "certificate": CERTIFICATE,
    }
    for kind, record in stale.items():
        with pytest.raises(InputError, match="are of other weights than its checkpoint"):
            model_card(run_of(**{kind: record}), "me/net", "0123")
    with pytest.raises(InputError, match="has no evaluation; run `logitpair evaluate runs/net`"):
        model_card(run_of(evaluations=()), "me/net", "0123")
