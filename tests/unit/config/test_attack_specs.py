"""What ``--attacks`` takes: shorthands, the paper's suite, and YAML files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import PGD, Attack, SignStart, grid, paper_suite, parse
from logitpair.config.attack_specs import read_attacks
from logitpair.storage.class_path import describe

DEFAULT = PGD(lp.Linf(0.3), step_size=0.01, steps=40)
FILE = """\
- pgd_76.5_2.55_40
- paper
- margin:
    class_path: logitpair.attacks.PGD
    init_args: {threat: {eps: 8/255}, step_size: 1e-2, steps: 3, loss: logitpair.losses.margin}
  noisy:
    class_path: logitpair.attacks.PGD
    init_args: {threat: {eps: 8/255}, step_size: 0.01, steps: 3, random_start: {class_path: logitpair.attacks.SignStart}}
  many: pgdll_16_2_10x50
- grid: {kinds: [pgdll, fgsm], eps: [8/255, 16/255], step_size: [1/255], steps: [10, 20]}
"""


def write(folder: Path, content: str) -> Path:
    path = folder / "attacks.yaml"
    path.write_text(content)
    return path


@pytest.mark.parametrize("text", ["pgd_76.5_2.55_40,pgdll_76.5_2.55_40", "pgd_76.5_2.55_40, pgdll_76.5_2.55_40"])
def test_shorthands_with_commas(text: str) -> None:
    found = read_attacks(text)
    assert found == {name: parse(name) for name in ("pgd_76.5_2.55_40", "pgdll_76.5_2.55_40")}
    assert list(found) == ["pgd_76.5_2.55_40", "pgdll_76.5_2.55_40"]


def test_paper_is_the_suite_at_the_sizes_of_the_default() -> None:
    suite = paper_suite(eps=0.3, step_size=0.01, steps=40)
    assert read_attacks("paper", DEFAULT) == suite
    assert read_attacks("paper,fgsm_16", DEFAULT) == suite | {"fgsm_16": parse("fgsm_16")}
    to_the_end = read_attacks("paper", DEFAULT.without_early_stop())
    assert to_the_end == {name: attack.without_early_stop() for name, attack in suite.items()}


def test_a_file_of_everything(tmp_path: Path) -> None:
    found = read_attacks(write(tmp_path, FILE), DEFAULT)
    small = lp.Linf(8 / 255)
    assert found == {
        "pgd_76.5_2.55_40": parse("pgd_76.5_2.55_40"),
        **paper_suite(eps=0.3, step_size=0.01, steps=40),
        "margin": PGD(small, step_size=0.01, steps=3, loss=lp.losses.margin),
        "noisy": PGD(small, step_size=0.01, steps=3, random_start=SignStart()),
        "many": parse("pgdll_16_2_10x50"),
        **grid(kinds=["pgdll", "fgsm"], eps=[8 / 255, 16 / 255], step_size=[1 / 255], steps=[10, 20]),
    }
    assert next(iter(found)) == "pgd_76.5_2.55_40"


def test_a_mapping_with_the_suite_at_sizes_of_its_own(tmp_path: Path) -> None:
    found = read_attacks(write(tmp_path, "pgd: pgd_16_2_10\npaper_suite: {eps: 76.5/255, step_size: 2.55/255, steps: 40}\n"))
    assert found == {"pgd": parse("pgd_16_2_10"), **paper_suite(eps=76.5 / 255, step_size=2.55 / 255, steps=40)}


def test_attacks_in_l2(tmp_path: Path) -> None:
    init_args = "init_args: {threat: {class_path: logitpair.L2, init_args: {eps: 1.5}}, step_size: 0.1, steps: 4}"
    suite = "paper_suite: {eps: 0.5, step_size: 0.1, steps: 5, norm: logitpair.L2}"
    found = read_attacks(write(tmp_path, f"pgd: {{class_path: logitpair.attacks.PGD, {init_args}}}\n{suite}\n"))
    expected = {"pgd": lp.attacks.PGD(lp.L2(1.5), step_size=0.1, steps=4), **paper_suite(eps=0.5, step_size=0.1, steps=5, norm=lp.L2)}
    assert found == expected
    assert read_attacks("paper", found["pgd"]) == paper_suite(eps=1.5, step_size=0.1, steps=4, norm=lp.L2)
    assert read_attacks("l2pgd_0.5_0.1_5") == {"l2pgd_0.5_0.1_5": lp.attacks.PGD(lp.L2(0.5), step_size=0.1, steps=5)}


def test_an_attack_may_have_any_name(tmp_path: Path) -> None:
    names = ("help", "config", "a.b", "my attack", "1")
    assert read_attacks(write(tmp_path, json.dumps(dict.fromkeys(names, describe(DEFAULT))))) == dict.fromkeys(names, DEFAULT)


@pytest.mark.parametrize("default", [None, lp.attacks.Unperturbed()])
def test_paper_needs_sizes(default: Attack | None) -> None:
    with pytest.raises(InputError, match="--attacks: 'paper' takes its sizes from the recipe's first attack, but .*paper_suite"):
        read_attacks("paper", default)


@pytest.mark.parametrize("text", ["", "foo", "pgd_16_2_10,", "attacks.txt", "pgd_16_2_10;pgd_8_2_10", "x" * 5000, "\0"])
def test_what_names_no_attack_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--attacks: '.*': no such attack; accepted: KIND_EPS .*paper.*YAML") as refused:
        read_attacks(text)
    assert "\n" not in str(refused.value)


IN_L2 = (
    "a: {class_path: logitpair.attacks.PGD, init_args: {step_size: 1, steps: 1, threat: {class_path: logitpair.L2, init_args: {GIVEN}}}}"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "'None' is no attack"),
        ("[]", "names no attack"),
        ("{}", "names no attack"),
        ("- 3", "'3' is no attack"),
        ("a: [b", "not YAML"),
        ("- a: [1\n  b: 2\n", "not YAML: line 2, .*expected"),
        ("grid: {epss: [0.1], step_size: [0.1], steps: [1]}", "grid: no 'epss'; accepted: eps, step_size, steps, kinds"),
        ("a: 3", "a: '3' is no attack"),
        ("a: paper", "a: 'paper': no such attack"),
        ("a: pgdl_16_2_10", "a: 'pgdl_16_2_10': no such attack"),
        ("a: {class_path: logitpair.attacks.PGDD}", "a: .*PGDD"),
        ("a: {class_path: logitpair.Linf, init_args: {eps: 0.1}}", "a: .*Attack"),
        ("a: {class_path: logitpair.attacks.PGD, init_args: {threat: {eps: -0.1}, step_size: 1, steps: 1}}", "a: eps must be at least 0"),
        (
            IN_L2.replace("GIVEN", "eps: -1"),
            "a: eps must be at least 0, not -1",
        ),
        (
            IN_L2.replace("GIVEN", "ep: 1"),
            "a: .*threat: Option 'ep' is not accepted by logitpair.L2; accepted: eps",
        ),
        (
            IN_L2.replace("GIVEN", "eps: x"),
            "a: .*threat.eps: expected a number, not 'x'",
        ),
        ("grid: {eps: [0.1], step_size: [0.1], steps: [1], norm: logitpair.L3}", "grid: module 'logitpair' has no attribute 'L3'"),
        ("grid: {eps: [0.1], step_size: [0.1], steps: [1], norm: l2}", "grid: norm: expected an import path"),
        (
            "a: {class_path: logitpair.attacks.PGD, init_args: {threat: {eps: 0.1}, step_size: x, steps: 1}}",
            "a: .*step_size: expected a number, not 'x'",
        ),
        (
            "a: {class_path: logitpair.attacks.PGD, init_args: {threat: {eps: 0.1}, step_size: 1, steps: 1, random_start: 3}}",
            "a: .*true or false",
        ),
        ("- fgsm_16\n- fgsm_16", "'fgsm_16' names two attacks"),
        ("fgsm_8: fgsm_16\ngrid: {kinds: [fgsm], eps: [8/255], step_size: [1], steps: [1]}", "'fgsm_8' names two attacks"),
        ("paper_suite:", "paper_suite: 'None' is no attack"),
        ("paper_suite: fgsm_16", "paper_suite: 'fgsm_16' is no attack"),
        ("paper_suite: {eps: 0.1, steps: 2}", "paper_suite: .*required: step_size"),
        (
            "paper_suite: {eps: 0.1, step_size: 0.1, steps: 2, restarts: 2}",
            "paper_suite: .*no 'restarts'; accepted: eps, step_size, steps, early_stop, norm$",
        ),
        ("paper_suite: {eps: 0.1, step_size: 0.1, steps: 1.5}", "paper_suite: steps: expected a whole number"),
        ("paper_suite: {eps: 0, step_size: 0.1, steps: 1}", "paper_suite: eps must be above 0"),
        ("grid: {eps: 0.1, step_size: [0.1], steps: [1]}", "grid: eps: expected a list"),
        ("grid: {eps: [], step_size: [0.1], steps: [1]}", "grid: eps is empty"),
        ("grid: {eps: [0.1], step_size: [0.1], steps: [1], kinds: [foo]}", "grid: kinds: no attack 'foo'; accepted: fgsm"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=f"--attacks: .*attacks.yaml.*{message}") as refused:
        read_attacks(write(tmp_path, content))
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--attacks: .*no file"):
        read_attacks(tmp_path / "none.yaml")
