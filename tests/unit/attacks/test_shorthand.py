"""The paper's suite of eight attacks, attacks by the names of the released code, and grids of them."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import PGD, LeastLikely, RandomTarget, SignStart, bim, fgsm, grid, paper_suite, parse, r_step
from logitpair.attacks.shorthand import ITERATED, ONE_STEP
from logitpair.rng import ExampleStreams

KEYS = ["step_ll", "step_rand", "r_step_ll", "r_step_rand", "iter_ll", "iter_rand", "pgd_ll", "pgd_rand"]
SUITE = paper_suite(eps=16 / 255, step_size=2 / 255, steps=10)
SIZES = st.decimals(min_value=1, max_value=255, places=2).map(lambda size: format(size.normalize(), "f"))
COUNTS = st.integers(1, 10**6)
LARGE = pytest.mark.filterwarnings("ignore:.* eps is in .0, 1. pixel scale:UserWarning")


def test_the_eight_attacks_and_their_parameters() -> None:
    assert list(SUITE) == KEYS
    for name, attack in SUITE.items():
        assert type(attack) is PGD
        assert attack.threat == lp.Linf(16 / 255)
        assert attack.target == (LeastLikely() if name.endswith("_ll") else RandomTarget())
        assert (attack.restarts, attack.loss) == (1, lp.losses.cross_entropy)
    found = {name.rpartition("_")[0]: (attack.step_size, attack.steps, attack.random_start) for name, attack in SUITE.items()}
    assert found == {
        "step": (16 / 255, 1, False),
        "r_step": (8 / 255, 1, SignStart()),
        "iter": (2 / 255, 10, False),
        "pgd": (2 / 255, 10, True),
    }


def test_scaled_attacks_are_those_of_the_smaller_ball() -> None:
    smaller = paper_suite(eps=4 / 255, step_size=0.5 / 255, steps=10)
    assert {name: attack.scaled(0.25) for name, attack in SUITE.items()} == smaller


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"eps": 0.0}, "eps"), ({"eps": -0.1}, "eps"), ({"step_size": 0.0}, "step_size"), ({"steps": 0}, "steps")],
)
def test_sizes_out_of_range_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        paper_suite(**({"eps": 0.1, "step_size": 0.01, "steps": 3} | wrong))


@pytest.mark.parametrize("build", [fgsm, r_step])
def test_one_step_attacks_need_a_ball(build: type) -> None:
    with pytest.raises(InputError, match="eps"):
        build(lp.Linf(0.0))


@pytest.mark.parametrize("name", [name for name in KEYS if name.endswith("_ll")])
def test_where_the_true_class_is_the_least_likely_the_next_one_is_the_target(name: str, linear: nn.Module, middle: tuple) -> None:
    x = middle[0]
    logits = linear(x).detach()
    y, target = logits.argsort(1)[:, :2].unbind(1)
    attack = SUITE[name].without_early_stop()
    assert (attack.target.choose(logits, y, None) == target).all()
    x_adv = attack(linear, x, y, generator=torch.Generator().manual_seed(0))
    start = attack.start(x, torch.Generator().manual_seed(0))
    before, after = (nn.functional.cross_entropy(linear(images), target) for images in (start, x_adv))
    assert after < before


@pytest.mark.parametrize("streams", [False, True])
@given(seed=st.integers(0, 2**32), eps=st.floats(0.001, 1.0))
def test_the_random_step_is_alpha_exactly_where_the_box_allows(streams: bool, seed: int, eps: float) -> None:
    x = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[0], x[1] = 0, 1
    source = ExampleStreams(seed, torch.arange(4)) if streams else torch.Generator().manual_seed(seed)
    ball = lp.Linf(eps)
    start = SignStart().draw(ball, x, source)
    assert ball.contains(start, x).all()
    moved, alpha = start - x, eps / 2
    free = (start > 0) & (start < 1)
    torch.testing.assert_close(moved[free].abs(), torch.full_like(moved[free], alpha), rtol=0, atol=1e-15)
    assert ((start == 0) | (start == 1) | free).all()
    assert (moved[~free].abs() <= alpha + 1e-15).all()
    assert (x[start == 0] <= alpha + 1e-15).all()
    assert (x[start == 1] >= 1 - alpha - 1e-15).all()


@pytest.mark.parametrize("streams", [False, True])
def test_the_random_step_goes_up_and_down_alike(streams: bool) -> None:
    x = torch.full((1, 1, 300, 300), 0.5)
    source = ExampleStreams(0, torch.arange(1)) if streams else torch.Generator().manual_seed(0)
    up = (SignStart().draw(lp.Linf(0.2), x, source) > 0.5).double().mean().item()
    assert abs(up - 0.5) < 4 * 0.5 / 300  # four standard deviations


@pytest.mark.parametrize("name", KEYS)
def test_every_attack_stays_in_the_ball_and_in_the_box(name: str, conv: nn.Module) -> None:
    x = (1.4 * torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.2).clamp_(0, 1)
    for eps in (0.01, 0.3, 1.0):
        attack = paper_suite(eps=eps, step_size=eps / 2, steps=3)[name].without_early_stop()
        x_adv = attack(conv, x, torch.arange(20) % 10, generator=torch.Generator().manual_seed(0))
        assert lp.Linf(eps).contains(x_adv, x).all()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_accuracy_under_each_attack_does_not_depend_on_the_batch_size(
    batch_size: int, trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    model, x, y = lp.models.SmallConvNet(width=4).double().eval(), digits[0][:15].double(), digits[1][:15]
    model.load_state_dict(trained.state_dict())
    attacks = paper_suite(eps=0.2, step_size=0.05, steps=5)
    cut, whole = (lp.evaluate(model, (x, y), attacks=attacks, batch_size=size, progress=False) for size in (batch_size, 256))
    assert len({entry["correct"] for entry in whole.results["attacks"].values()}) > 2, "the attacks should differ in strength"
    for name in KEYS:
        assert cut.results["attacks"][name]["correct"] == whole.results["attacks"][name]["correct"]
        key = f"white_box/{name}/prediction"
        assert (cut.ledger[key] == whole.ledger[key]).all()


@LARGE
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
        ("l2pgd_0.5_0.05_40x3", PGD(lp.L2(0.5), step_size=0.05, steps=40, restarts=3)),
        ("l2iterrnd_1.5_0.1_20", bim(lp.L2(1.5), step_size=0.1, steps=20, target=RandomTarget())),
        ("l2fgsm_1.5", fgsm(lp.L2(1.5))),
        ("l2rstepll_300", r_step(lp.L2(300), target=LeastLikely())),
    ],
)
def test_what_the_shorthand_means(text: str, attack: PGD) -> None:
    assert parse(text) == attack


@LARGE
@given(st.sampled_from(list(ITERATED)), SIZES, SIZES, COUNTS, COUNTS)
def test_what_is_written_is_what_is_parsed(kind: str, eps: str, step_size: str, steps: int, restarts: int) -> None:
    suffix = f"x{restarts}" if kind.startswith("pgd") else ""
    attack = parse(f"{kind}_{eps}_{step_size}_{steps}{suffix}")
    assert attack.threat.eps == float(eps) / 255
    assert attack.step_size == float(step_size) / 255
    assert (attack.steps, attack.restarts) == (steps, restarts if suffix else 1)
    assert attack.random_start is kind.startswith("pgd")
    assert attack.target == (LeastLikely() if kind.endswith("ll") else RandomTarget() if kind.endswith("rnd") else None)


@LARGE
@given(st.sampled_from([*ONE_STEP, *ITERATED]), SIZES, SIZES, COUNTS)
def test_a_grid_names_its_attacks_so_that_they_parse(kind: str, eps: str, step_size: str, steps: int) -> None:
    made = grid(kinds=[kind], eps=[float(eps) / 255], step_size=[float(step_size) / 255], steps=[steps])
    assert made == {name: parse(name) for name in made}
    assert list(made) == [f"{kind}_{eps}" if kind in ONE_STEP else f"{kind}_{eps}_{step_size}_{steps}"]


@LARGE
@given(st.floats(1 / 255, 1.0), st.floats(1 / 255, 1.0))
def test_a_name_from_any_sizes_parses_to_them_within_rounding(eps: float, step_size: float) -> None:
    (name, attack), *_ = grid(kinds=["pgd"], eps=[eps], step_size=[step_size], steps=[3]).items()
    again = parse(name)
    assert (attack.threat.eps, attack.step_size) == (eps, step_size)
    assert (again.threat.eps, again.step_size) == pytest.approx((eps, step_size), rel=1e-11)


@pytest.mark.parametrize(
    "text",
    [
        *("", "pgd", "pgd_16", "pgd_16_2", "pgd_16_2_10_3", "pgdl_16_2_10", "PGD_16_2_10", "pgd_16_2_1.5", "pgd_-16_2_10", "pgd_16_2_10x"),
        *("l1pgd_16_2_10", "l2", "l2_0.5", "l2pgd_0.5", "pgdl2_0.5_0.1_3", "l2l2pgd_0.5_0.1_3"),
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
        ("l2fgsm_0", "eps"),
        ("l2bim_0.5_0.1_10x5", "l2bim starts at the image.*accepted: l2bim_0.5_0.1_10$"),
        ("bim_16_2_10x5", "bim starts at the image.*accepted: bim_16_2_10$"),
        ("stepll_16x5", "restart"),
        (f"pgd_{'9' * 400}_2_10", "eps"),
    ],
)
def test_numbers_out_of_range_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pgd_0.031_0.0078_10", r"eps is in 1/255, where 0.031 is less than a grey level; 7.905 is 0.031 of the whole range"),
        ("fgsm_0.3", "76.5 is 0.3 of the whole range"),
        ("stepll_1e-3", "0.255 is 1e-3 of the whole range"),
        ("pgd_8_0.0078_10", r"the step size is in 1/255, and 10 of 0.0078 lead nowhere in a ball of 8; 1.989 is 0.0078 of the whole"),
    ],
)
def test_sizes_that_are_meant_in_0_1_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^'{text}': .*{said}"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["pgd_0.5_0.125_10", "pgd_0.25_0.05_10", "fgsm_0.125", "pgd_0_1_10", "pgd_8_0.8_10", "pgd_16_1_1", "pgd_4_0.01_100"]
)
def test_sizes_of_less_than_a_grey_level_that_are_meant_are_not(text: str) -> None:
    assert parse(text).threat.eps == float(text.split("_")[1]) / 255


def test_a_radius_in_l2_that_may_be_meant_in_1_255_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"^'l2pgd_128_25_10': eps is in \[0, 1\] pixel scale; where 128/255 is meant, write 0.50196$"):
        assert parse("l2pgd_128_25_10").threat.eps == 128
    parse("l2pgd_3_0.5_10")


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


def test_a_suite_and_a_grid_in_l2() -> None:
    found = paper_suite(eps=0.5, step_size=0.1, steps=5, norm=lp.L2)
    assert {attack.threat for attack in found.values()} == {lp.L2(0.5)}
    assert found["pgd_ll"] == parse("l2pgdll_0.5_0.1_5")
    sizes = grid(kinds=["pgd", "fgsm"], eps=[0.5, 1.5], step_size=[0.1], steps=[5], norm=lp.L2)
    assert list(sizes) == ["l2pgd_0.5_0.1_5", "l2pgd_1.5_0.1_5", "l2fgsm_0.5", "l2fgsm_1.5"]
    assert {name: parse(name) for name in sizes} == sizes
    with pytest.raises(InputError, match="norm: the class Threat has no shorthands; accepted: logitpair.Linf, logitpair.L2"):
        grid(kinds=["pgd"], eps=[0.5], step_size=[0.1], steps=[5], norm=lp.Threat)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("norm", ["l2", lp.L2(0.5)])
def test_a_norm_of_the_papers_suite_is_a_class(norm: object) -> None:
    with pytest.raises(InputError, match=r"norm must be a kind of ball, logitpair\.Linf or logitpair\.L2, not "):
        paper_suite(eps=0.5, step_size=0.1, steps=5, norm=norm)
