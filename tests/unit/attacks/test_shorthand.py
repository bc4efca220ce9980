"""Attacks by the names of the released code, and grids of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import PGD, LeastLikely, RandomTarget, bim, fgsm, grid, paper_suite, parse
from logitpair.attacks.shorthand import ITERATED, ONE_STEP

SUITE = paper_suite(eps=16 / 255, step_size=2 / 255, steps=10)
SIZES = st.decimals(min_value="0.01", max_value=255, places=2).map(lambda size: format(size.normalize(), "f"))
COUNTS = st.integers(1, 10**6)


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("pgdll_16_2_10", SUITE["pgd_ll"]),
        ("pgdrnd_16_2_10", SUITE["pgd_rand"]),
        ("iterll_16_2_10", SUITE["iter_ll"]),
        ("iterrnd_16_2_10", SUITE["iter_rand"]),
        ("stepll_16", SUITE["step_ll"]),
        ("steprnd_16", SUITE["step_rand"]),
        ("rstepll_16", SUITE["r_step_ll"]),
        ("rsteprnd_16", SUITE["r_step_rand"]),
        ("pgd_16_2_10", PGD(lp.Linf(16 / 255), step_size=2 / 255, steps=10)),
        ("bim_16_2_10", bim(lp.Linf(16 / 255), step_size=2 / 255, steps=10)),
        ("fgsm_16", fgsm(lp.Linf(16 / 255))),
        ("pgd_76.5_2.55_40x50", PGD(lp.Linf(76.5 / 255), step_size=2.55 / 255, steps=40, restarts=50)),
    ],
)
def test_what_the_shorthand_means(text: str, attack: PGD) -> None:
    assert parse(text) == attack


@given(st.sampled_from(list(ITERATED)), SIZES, SIZES, COUNTS, COUNTS)
def test_what_is_written_is_what_is_parsed(kind: str, eps: str, step_size: str, steps: int, restarts: int) -> None:
    suffix = f"x{restarts}" if kind.startswith("pgd") else ""
    attack = parse(f"{kind}_{eps}_{step_size}_{steps}{suffix}")
    assert attack.threat.eps == float(eps) / 255
    assert attack.step_size == float(step_size) / 255
    assert (attack.steps, attack.restarts) == (steps, restarts if suffix else 1)
    assert attack.random_start is kind.startswith("pgd")
    assert attack.target == (LeastLikely() if kind.endswith("ll") else RandomTarget() if kind.endswith("rnd") else None)


@given(st.sampled_from([*ONE_STEP, *ITERATED]), SIZES, SIZES, COUNTS)
def test_a_grid_names_its_attacks_so_that_they_parse(kind: str, eps: str, step_size: str, steps: int) -> None:
    made = grid(kinds=[kind], eps=[float(eps) / 255], step_size=[float(step_size) / 255], steps=[steps])
    assert made == {name: parse(name) for name in made}
    assert list(made) == [f"{kind}_{eps}" if kind in ONE_STEP else f"{kind}_{eps}_{step_size}_{steps}"]


@given(st.floats(1e-9, 1.0), st.floats(1e-9, 1.0))
def test_a_name_from_any_sizes_parses_to_them_within_rounding(eps: float, step_size: float) -> None:
    (name, attack), *_ = grid(kinds=["pgd"], eps=[eps], step_size=[step_size], steps=[3]).items()
    again = parse(name)
    assert (attack.threat.eps, attack.step_size) == (eps, step_size)
    assert (again.threat.eps, again.step_size) == pytest.approx((eps, step_size), rel=1e-11)


@pytest.mark.parametrize(
    "text",
    [
        *("", "pgd", "pgd_16", "pgd_16_2", "pgd_16_2_10_3", "pgdl_16_2_10", "PGD_16_2_10", "pgd_16_2_1.5", "pgd_-16_2_10", "pgd_16_2_10x"),
        *("fgsm_16_2_10", "stepll_16_2_10", "fgsm_", "fgsm", "pgd_8/255_2_10", "pgd_16_2_10 ", "pgd_.5_2_10", "pgd_nan_2_10", "clean"),
    ],
)
def test_what_is_no_shorthand_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"'{text}'")) as refused:
        parse(text)
    assert all(kind in str(refused.value) for kind in [*ONE_STEP, *ITERATED])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pgd_16_0_10", "step_size"),
        ("pgd_16_2_0", "steps"),
        ("pgd_16_2_10x0", "restarts"),
        ("stepll_0", "eps"),
        ("rstepll_0", "eps"),
        ("bim_16_2_10x5", "bim starts at the image.*accepted: bim_16_2_10$"),
        ("stepll_16x5", "restart"),
        (f"pgd_{'9' * 400}_2_10", "eps"),
    ],
)
def test_numbers_out_of_range_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(text)


def test_a_grid_is_the_papers_eight_at_every_combination() -> None:
    made = grid(eps=[8 / 255, 16 / 255], step_size=[1 / 255, 2 / 255], steps=[10, 20])
    assert len(made) == 4 * 2 + 4 * 2 * 2 * 2
    assert set(SUITE.values()) <= set(made.values())
    assert len(set(made.values())) == len(made)


@pytest.mark.parametrize("empty", ["eps", "step_size", "steps", "kinds"])
def test_a_grid_of_nothing_is_refused(empty: str) -> None:
    with pytest.raises(InputError, match=empty):
        grid(**({"eps": [0.1], "step_size": [0.1], "steps": [1], "kinds": ["pgd"]} | {empty: []}))


def test_a_grid_of_unknown_attacks_is_refused() -> None:
    with pytest.raises(InputError, match="'apgd'.*accepted: fgsm"):
        grid(kinds=["pgd", "apgd"], eps=[0.1], step_size=[0.1], steps=[1])
