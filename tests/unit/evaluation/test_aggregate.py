"""The worst case alone: attacks in turn leave together what they leave one by one, and nothing is said of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_evaluations import BALL, STRONG, SUITE, Pair, evaluate
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import PGD, Attack
from logitpair.report.pages.evaluation_section import evaluation_blocks

FULL = {name: attack.without_early_stop() for name, attack in SUITE.items()}
OF_ONE = ("prediction", "distance", "top5", "restart", "step")


@pytest.fixture(scope="module")
def sample() -> Pair:
    test = lp.data.Digits().test()
    return test.images[:40].double() / 255, test.labels[:40]


@pytest.fixture
def model(trained: nn.Module) -> nn.Module:
    """The trained network in float64, so that batch sizes change no sign of a gradient."""
    network = lp.models.SmallConvNet(width=4)
    network.load_state_dict(trained.state_dict())
    return network.double().eval()


@pytest.mark.parametrize(("suite", "batch_size"), [(SUITE, 7), (FULL, 40), ({**FULL, "strong": STRONG}, 40)])
def test_the_worst_case_is_that_of_the_whole_evaluation(model: nn.Module, sample: Pair, suite: dict[str, Attack], batch_size: int) -> None:
    whole = evaluate(model, sample, attacks=suite)
    only = evaluate(model, sample, attacks=suite, worst_case_only=True, batch_size=batch_size)
    to_the_end = all(attack == attack.without_early_stop() for attack in suite.values())
    expected = {key: value for key, value in whole.results["white_box_union"].items() if to_the_end or "top5" not in key}
    assert only.results["white_box_union"] == expected
    assert 0 < expected["correct"] < whole.results["clean"]["correct"]
    ledger, y = only.ledger, only.ledger["y"]
    assert np.array_equal(
        ledger["white_box/union/prediction"] == y, np.all([whole.ledger[f"white_box/{name}/prediction"] == y for name in suite], axis=0)
    )
    for column in ("first/attack", "first/restart", "first/step"):
        assert np.array_equal(ledger[column], whole.ledger[column]), column
    for name, entry in only.results["in_turn"].items():
        alone = whole.results["attacks"][name]
        assert entry["broken"] == alone["broken"]["first"]
        assert entry["parameters"] == alone["parameters"]
        assert entry["gradient_evaluations_per_example"] <= alone["gradient_evaluations_per_example"]
    spent = [
        sum(each["gradient_evaluations_per_example"] for each in of.values()) for of in (only.results["in_turn"], whole.results["attacks"])
    ]
    assert spent[0] < spent[1] or to_the_end, "top-5 is searched for to the end, where nearly every image is left"


def test_each_attack_searches_what_those_before_it_left(model: nn.Module, sample: Pair) -> None:
    only = evaluate(model, sample, worst_case_only=True)
    attacked = only.results["clean"]["correct"]
    for name, entry in only.results["in_turn"].items():
        assert entry["attacked"] == attacked == (only.ledger[f"white_box/{name}/gradients"] > 0).sum()
        attacked -= entry["broken"]
    assert attacked == only.results["white_box_union"]["correct"]


def test_the_image_of_the_union_is_the_one_that_was_the_first_to_break_it(model: nn.Module, sample: Pair) -> None:
    only, whole = (evaluate(model, sample, worst_case_only=value) for value in (True, False))
    shown, names = only.ledger["gallery/white_box/union"], list(SUITE)
    first = only.ledger["first/attack"][: len(shown)]
    assert {-1, 0} < set(first.tolist())
    for row, number in enumerate(first):
        if number >= 0:
            assert np.array_equal(shown[row], whole.ledger[f"gallery/white_box/{names[number]}"][row])
            distance = whole.ledger[f"white_box/{names[number]}/distance"][row]
            assert only.ledger["white_box/union/distance"][row] == distance
    assert np.array_equal(model(torch.from_numpy(shown)).argmax(1).numpy(), only.ledger["white_box/union/prediction"][: len(shown)])


@pytest.mark.parametrize(("euclidean_first", "eps"), [(True, 0.25), (False, 0.5)])
def test_each_distance_of_the_union_is_in_the_norm_of_the_attack_that_broke_it(
    model: nn.Module, sample: Pair, euclidean_first: bool, eps: float
) -> None:
    attacks = {"strong": STRONG, "l2": PGD(lp.L2(eps), step_size=0.2, steps=5, random_start=False)}
    attacks = dict(reversed(attacks.items())) if euclidean_first else attacks
    only, whole = (evaluate(model, sample, attacks=attacks, worst_case_only=value) for value in (True, False))
    first = only.ledger["first/attack"]
    assert {0, 1} < set(first.tolist())
    for number, name in enumerate(attacks):
        rows = first == number
        assert np.array_equal(only.ledger["white_box/union/distance"][rows], whole.ledger[f"white_box/{name}/distance"][rows])


def test_nothing_is_recorded_or_shown_of_what_one_attack_leaves(model: nn.Module, sample: Pair) -> None:
    source = lp.models.SmallConvNet(width=4).double()
    only = evaluate(model, sample, worst_case_only=True, sources={"other": source}, curve=(0.05, 0.1))
    results, whole = only.results, evaluate(model, sample, sources={"other": source}, curve=(0.05, 0.1)).results
    assert results["attacks"] == {}
    assert "white_box" not in results
    assert not {f"white_box/{name}/{column}" for name in SUITE for column in OF_ONE} & set(only.ledger)
    assert not {f"gallery/white_box/{name}" for name in SUITE} & set(only.ledger)
    rows = {row[0]: row for row in only.rows()}
    assert rows["white box, in turn"][2:] == ("-", "-", "-", "-")
    assert "white box, worst" not in rows
    assert "white box" not in rows
    for part in ("clean", "curve"):
        assert results[part] == whole[part], "all but the white box is as without it"
    for key in ("top1", "correct", "union"):
        assert results["black_box"]["other"][key] == whole["black_box"]["other"][key]
    assert list(only.plots()) == ["eps"]
    page = "".join(evaluation_blocks(only.record, only.ledger, ()))
    assert "Each attack searched only the images that no attack before it broke" in page
    assert "under any attack at eps = 0.1" in page


def test_what_is_broken_stays_broken_when_it_is_searched_again_for_top5(model: nn.Module, sample: Pair) -> None:
    """The second attack comes to images that the first broke, and leaves them as they are: an image, and what it is taken for."""

    class Nothing(Attack):
        threat = BALL

        def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> Tensor:
            return x

    only = evaluate(model, sample, attacks={"strong": FULL["strong"], "nothing": Nothing()}, worst_case_only=True)
    alone = evaluate(model, sample, attacks={"strong": FULL["strong"]})
    assert only.results["white_box_union"]["correct"] == alone.results["white_box"]["correct"]
    right = alone.ledger["clean/prediction"] == alone.ledger["y"]
    for column in ("prediction", "distance"):
        broken = right & (alone.ledger["white_box/strong/prediction"] != alone.ledger["y"])
        assert np.array_equal(only.ledger[f"white_box/union/{column}"][broken], alone.ledger[f"white_box/strong/{column}"][broken])


def test_it_is_saved_and_read(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    only = evaluate(model, sample, worst_case_only=True)
    only.save(tmp_path)
    assert lp.Evaluation.load(tmp_path).results == only.results


def test_an_attack_may_be_called_union(model: nn.Module, sample: Pair) -> None:
    attacks = {"union": PGD(BALL, step_size=0.05, steps=2), "strong": STRONG}
    whole = evaluate(model, sample, attacks=attacks)
    only = evaluate(model, sample, attacks=attacks, worst_case_only=True)
    assert only.results["white_box_union"]["correct"] == whole.results["white_box_union"]["correct"]
    assert np.array_equal(only.ledger["white_box/union/prediction"] == only.ledger["y"], whole.ledger["first/attack"] == -1)
