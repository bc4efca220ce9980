"""Evaluation: what counts as broken, and what no result may depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pytest
import torch
from small_evaluations import BALL, STRONG, SUITE, WEAK, Pair, evaluate, same_ledger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import logitpair as lp
from logitpair.attacks import PGD, Attack, AttackResult


@pytest.fixture(scope="module")
def sample() -> Pair:
    test = lp.data.Digits().test()
    return test.images[:60].double() / 255, test.labels[:60]


@pytest.fixture
def model(trained: nn.Module) -> nn.Module:
    """The trained network in float64, so that batch sizes change no sign of a gradient."""
    network = lp.models.SmallConvNet(width=4)
    network.load_state_dict(trained.state_dict())
    return network.double().eval()


@dataclass(frozen=True)
class Rogue(Attack):
    """Hands out images changed by any function; only a check of the result can catch it."""

    change: object
    threat: lp.Linf = BALL

    def find_unchecked(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> AttackResult:
        unknown = torch.full((len(x),), -1)
        return AttackResult(self.change(x), unknown, unknown, torch.zeros(len(x)), torch.zeros(len(x)))

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> Tensor:
        raise AssertionError

    def scaled(self, factor: float) -> Self:
        return self


@dataclass(frozen=True)
class Recording(Attack):
    """Notes what it was given, and changes nothing."""

    seen: list
    threat: lp.Linf = BALL
    early_stop: bool = True

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> Tensor:
        self.seen.append({"y": y.tolist(), "correct": (model(x).argmax(1) == y).tolist(), "exhaustive": not self.early_stop})
        return x

    def scaled(self, factor: float) -> Self:
        return self

    def without_early_stop(self) -> Self:
        return type(self)(self.seen, self.threat, early_stop=False)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_results_do_not_depend_on_the_batch_size(model: nn.Module, sample: Pair, batch_size: int) -> None:
    data, source = (sample[0][:15], sample[1][:15]), lp.models.SmallConvNet(width=4).double()
    options = {"sources": {"other": source}, "seed": 5, "curve": (0.0, 0.05) if batch_size > 1 else ()}
    whole, parts = (evaluate(model, data, batch_size=size, **options) for size in (256, batch_size))
    assert 0 < whole.results["attacks"]["strong"]["correct"] < whole.results["clean"]["correct"]
    for key in whole.ledger:
        if not key.startswith("gallery"):
            np.testing.assert_allclose(parts.ledger[key], whole.ledger[key], rtol=0, atol=1e-9, err_msg=key)
    for key in ("clean", "white_box", "white_box_union", "curve"):
        assert parts.results.get(key) == whole.results.get(key)
    for name in SUITE:
        a, b = (result.results["attacks"][name]["gradient_evaluations_per_example"] for result in (whole, parts))
        assert a == pytest.approx(b)


def test_in_float32_too_but_for_the_rounding_of_the_kernels(trained: nn.Module, sample: Pair) -> None:
    data = sample[0][:30].float(), sample[1][:30]
    counts = []
    for batch_size in (1, 7, 30):
        results = evaluate(trained, data, batch_size=batch_size).results
        counts.append([results["clean"]["correct"], *(results["attacks"][name]["correct"] for name in SUITE)])
    assert all(max(column) - min(column) <= 1 for column in zip(*counts, strict=True)), counts
    assert 0 < counts[0][2] < counts[0][0], "the test needs both kinds"


def test_the_gallery_does_not_depend_on_the_batch_size(model: nn.Module, sample: Pair) -> None:
    whole, parts = (evaluate(model, sample, batch_size=size, attacks={"weak": WEAK}) for size in (256, 7))
    same_ledger(whole, parts, "gallery")


def test_results_do_not_depend_on_what_else_is_evaluated(model: nn.Module, sample: Pair) -> None:
    together = evaluate(model, sample)
    backwards = evaluate(model, sample, attacks=dict(reversed(SUITE.items())))
    alone = evaluate(model, sample, attacks={"rand": SUITE["rand"]})
    same_ledger(together, backwards, "white_box")
    for key in ("white_box/rand/prediction", "white_box/rand/distance"):
        assert np.array_equal(together.ledger[key], alone.ledger[key])
    x, y = sample
    beginning = evaluate(model, (x[:20], y[:20]))
    for key in beginning.ledger:
        assert np.array_equal(beginning.ledger[key], together.ledger[key][: len(beginning.ledger[key])]), key


def test_results_do_not_depend_on_the_order_of_the_examples(model: nn.Module, sample: Pair) -> None:
    x, y = sample
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    attacks = {"bim": PGD(BALL, step_size=0.02, steps=5, random_start=False)}
    straight, shuffled = evaluate(model, (x, y), attacks=attacks), evaluate(model, (x[order], y[order]), attacks=attacks, batch_size=7)
    for key in ("y", "clean/prediction", "white_box/bim/prediction"):
        assert np.array_equal(straight.ledger[key][order.numpy()], shuffled.ledger[key])


def test_results_do_not_depend_on_the_global_random_state_and_leave_it_alone(model: nn.Module, sample: Pair) -> None:
    first = evaluate(model, sample)
    torch.rand(5)
    before = torch.get_rng_state()
    same_ledger(first, evaluate(model, sample))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_data_set_leaves_the_global_random_state_alone_too(trained: nn.Module) -> None:
    before = torch.get_rng_state()
    evaluate(trained, lp.data.first(lp.data.Digits().test(), 10), attacks={"weak": WEAK})
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_draws_other_starts(model: nn.Module, sample: Pair) -> None:
    a, b = (evaluate(model, sample, seed=seed, attacks={"weak": WEAK}) for seed in (0, 1))
    assert not np.array_equal(a.ledger["gallery/white_box/weak"], b.ledger["gallery/white_box/weak"])


def test_all_kinds_of_data_give_the_same(trained: nn.Module) -> None:
    test = lp.data.first(lp.data.Digits().test(), 30)
    images = lp.data.Digits().test().part(0, 30)
    pair = (images.images.float() / 255, images.labels)
    kinds = [pair, (images.images, images.labels), images, test, TensorDataset(*pair), DataLoader(TensorDataset(*pair), batch_size=256)]
    results = [evaluate(trained, data, attacks={"weak": WEAK}) for data in kinds]
    for result in results[1:]:
        same_ledger(results[0], result)


def test_misclassified_clean_examples_count_as_broken_and_are_not_attacked(model: nn.Module, sample: Pair) -> None:
    seen: list = []
    evaluation = evaluate(model, sample, attacks={"nothing": Recording(seen)}, batch_size=20)
    clean = evaluation.ledger["clean/prediction"] == evaluation.ledger["y"]
    assert 0 < clean.sum() < len(clean), "the test needs both kinds"
    assert sum(len(call["y"]) for call in seen) == clean.sum()
    assert all(all(call["correct"]) for call in seen)
    results = evaluation.results
    assert results["attacks"]["nothing"]["correct"] == results["clean"]["correct"] == clean.sum()
    assert np.array_equal(evaluation.ledger["white_box/nothing/prediction"], evaluation.ledger["clean/prediction"])


@pytest.mark.parametrize(
    "change",
    [
        lambda x: torch.full_like(x, float("nan")),
        lambda x: 1 - x,  # far outside the ball
        lambda x: torch.zeros_like(x),
        lambda x: x + 0.1001,
        lambda x: (x + 0.05) * 1.2,
        lambda x: x - 0.09,  # in the ball, below the box
    ],
)
def test_an_attack_that_leaves_the_ball_the_box_or_the_numbers_is_no_success(model: nn.Module, sample: Pair, change: object) -> None:
    evaluation = evaluate(model, sample, attacks={"rogue": Rogue(change)}, sources={"copy": model})
    results = evaluation.results
    assert results["attacks"]["rogue"]["correct"] == results["clean"]["correct"]
    assert results["black_box"]["copy"]["attacks"]["rogue"]["correct"] == results["clean"]["correct"]
    assert evaluation.ledger["white_box/rogue/distance"].max() <= 0.1 + 1e-7


def test_an_attack_that_goes_astray_on_some_examples_keeps_its_success_on_the_others(
    model: nn.Module, sample: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    def half(x: Tensor) -> Tensor:
        x_adv = STRONG(model, x, labels_of(x), generator=torch.Generator().manual_seed(0))
        x_adv[::2] = float("nan")
        return x_adv

    def labels_of(x: Tensor) -> Tensor:
        return model(x).argmax(1).detach()  # only correctly classified examples come here

    with caplog.at_level("WARNING"):
        evaluation = evaluate(model, sample, attacks={"half": Rogue(half), "strong": STRONG}, batch_size=20)
    results = evaluation.results["attacks"]
    assert results["strong"]["correct"] < results["half"]["correct"] < evaluation.results["clean"]["correct"]
    lines = [record.getMessage() for record in caplog.records if "NaN" in record.getMessage()]
    assert lines == ["attacks: white_box/half: NaN in 30 of its images, for which it counts as having found nothing"], "every second of 60"


def test_success_is_measured_by_a_fresh_forward_not_by_the_attack_s_own(sample: Pair, model: nn.Module) -> None:
    evaluation = evaluate(model, sample, attacks={"strong": STRONG}, batch_size=60)
    x_adv = torch.from_numpy(evaluation.ledger["gallery/white_box/strong"])
    assert np.array_equal(model(x_adv).argmax(1).numpy(), evaluation.ledger["white_box/strong/prediction"][: len(x_adv)])
    assert BALL.contains(x_adv, sample[0][: len(x_adv)]).all()


def test_white_box_is_the_minimum_and_the_union_is_at_most_that(model: nn.Module, sample: Pair) -> None:
    evaluation = evaluate(model, sample)
    results, ledger = evaluation.results, evaluation.ledger
    counts = {name: results["attacks"][name]["correct"] for name in SUITE}
    assert results["white_box"]["correct"] == min(counts.values())
    assert counts[results["white_box"]["attack"]] == min(counts.values())
    unbroken = np.all([ledger[f"white_box/{name}/prediction"] == ledger["y"] for name in SUITE], axis=0)
    assert results["white_box_union"]["correct"] == unbroken.sum() <= min(counts.values())


def test_union_counts_examples_that_different_attacks_break(model: nn.Module, sample: Pair) -> None:
    def break_every(remainder: int) -> object:
        def change(x: Tensor) -> Tensor:
            x_adv = PGD(BALL, step_size=0.02, steps=20)(model, x, model(x).argmax(1), generator=torch.Generator().manual_seed(0))
            keep = torch.arange(len(x)) % 2 == remainder
            return torch.where(keep[:, None, None, None], x, x_adv)

        return change

    results = evaluate(model, sample, attacks={"even": Rogue(break_every(0)), "odd": Rogue(break_every(1))}).results
    assert results["white_box_union"]["correct"] < results["white_box"]["correct"]


def test_black_box_makes_images_on_the_source_with_the_exhaustive_attack(model: nn.Module, sample: Pair) -> None:
    seen: list = []
    source = lp.models.SmallConvNet(width=4).double()
    evaluation = evaluate(model, sample, attacks={"nothing": Recording(seen)}, sources={"other": source})
    assert [call["exhaustive"] for call in seen] == [False, True]
    assert len(seen[0]["y"]) == evaluation.results["clean"]["correct"]
    assert len(seen[1]["y"]) == len(sample[1]), "what is made against a source knows nothing of the model it is tried on"
    assert not all(seen[1]["correct"]), "the source itself was attacked, not the evaluated model"
    summary = evaluation.results["black_box"]["other"]
    assert summary["correct"] == evaluation.results["clean"]["correct"]
    assert summary["attacks"]["nothing"]["parameters"]["init_args"]["early_stop"] is False


def test_black_box_from_the_model_itself_is_a_white_box(model: nn.Module, sample: Pair) -> None:
    attacks = {"bim": PGD(BALL, step_size=0.02, steps=10, random_start=False).without_early_stop()}
    results = evaluate(model, sample, attacks=attacks, sources={"itself": model}).results
    assert results["black_box"]["itself"]["correct"] == results["white_box"]["correct"]
    blind = evaluate(model, sample, attacks=attacks, sources={"untrained": lp.models.SmallConvNet(width=4).double()}).results
    assert blind["black_box"]["untrained"]["correct"] > results["white_box"]["correct"]


def test_the_curve_is_of_the_first_attack_whatever_else_is_evaluated(model: nn.Module, sample: Pair) -> None:
    source = lp.models.SmallConvNet(width=4).double()
    evaluation = evaluate(model, sample, attacks={"strong": STRONG, "weak": WEAK}, sources={"other": source}, curve=(BALL.eps,))
    assert evaluation.results["curve"][0]["attack"] == "strong"
    for column in ("prediction", "gradients", "step"):
        assert np.array_equal(evaluation.ledger[f"curve/0.1/{column}"], evaluation.ledger[f"white_box/strong/{column}"])


def test_probabilities_are_warned_about(model: nn.Module, sample: Pair) -> None:
    with pytest.warns(UserWarning, match="probabilities"):
        evaluate(nn.Sequential(model, nn.Softmax(1)), sample, attacks={"weak": WEAK})


def test_top5_is_attacked_where_top1_was_wrong_from_the_start(model: nn.Module, sample: Pair) -> None:
    x, _ = sample
    second = model(x).topk(2, dim=1).indices[:, 1].detach()  # top-1 is never right, top-5 always
    attack = PGD(lp.Linf(0.5), step_size=0.05, steps=20, random_start=False)
    results = evaluate(model, (x, second), attacks={"full": attack.without_early_stop(), "stopping": attack}).results
    assert results["clean"]["top1"] == 0
    assert results["clean"]["top5"] == 1
    full, stopping = results["attacks"]["full"], results["attacks"]["stopping"]
    assert full["top1"] == stopping["top1"] == 0
    assert full["top5"] < 0.5
    assert not full["top5_is_upper_bound"]
    assert stopping["top5_is_upper_bound"]
    assert results["white_box"]["top5"] == min(full["top5"], stopping["top5"])


def test_model_is_left_as_it_was(model: nn.Module, sample: Pair) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 10)).double().train()
    network[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    evaluate(network, sample, sources={"other": network})
    assert network.training
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, *[True] * 5]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_sources_are_left_as_they_were(model: nn.Module, sample: Pair) -> None:
    source = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)).double().train()
    evaluate(model, sample, sources={"other": source})
    assert all(module.training for module in source.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in source.parameters())


def test_autocast_around_it_changes_nothing(trained: nn.Module, digits: Pair) -> None:
    data = (digits[0][:60], digits[1][:60])
    plain = evaluate(trained, data)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same_ledger(plain, evaluate(trained, data))


@dataclass(frozen=True)
class Careless(Attack):
    """Leaves the network in train mode; ``find_unchecked``, which would put it back, is its own."""

    threat: lp.Linf = BALL

    def find_unchecked(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> AttackResult:
        model.train()
        unknown = torch.full((len(x),), -1)
        return AttackResult(x.clone(), unknown, unknown, torch.zeros(len(x)), torch.zeros(len(x)))

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> Tensor:
        raise AssertionError


def test_images_are_classified_in_eval_mode_whatever_an_attack_has_done(model: nn.Module, sample: Pair) -> None:
    network = nn.Sequential(model, nn.Dropout(0.9)).eval()
    results = evaluate(network, sample, attacks={"careless": Careless(), "after": PGD(lp.Linf(0.0), step_size=0.1, steps=1)}, batch_size=20)
    honest = evaluate(model, sample, attacks={"none": PGD(lp.Linf(0.0), step_size=0.1, steps=1)})
    assert np.array_equal(results.ledger["clean/prediction"], honest.ledger["clean/prediction"])
    for name in ("careless", "after"):
        assert np.array_equal(results.ledger[f"white_box/{name}/prediction"], honest.ledger["clean/prediction"])


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("option", ["batch_size", "curve_examples", "workers", "seed"])
def test_numbers_that_are_not_whole_are_refused(option: str, model: nn.Module, sample: Pair) -> None:
    with pytest.raises(lp.InputError, match=f"^{option} must be a whole number.*, not 2.0 .write 2.$"):
        evaluate(model, sample, **{option: 2.0})


@pytest.mark.usefixtures("no_shape_checks")
def test_seeds_of_numpy_are_written_down_as_any(model: nn.Module, sample: Pair) -> None:
    small = (sample[0][:4], sample[1][:4])
    ours, theirs = (evaluate(model, small, attacks={"weak": WEAK}, seed=seed) for seed in (3, np.int64(3)))
    assert ours.results["seed"] == theirs.results["seed"] == 3
