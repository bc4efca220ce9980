"""Kept adversarial images: read back only when they are what they say, tried again, and rounded to 8 bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import PGD, External
from logitpair.evaluation.adversarial_cache import AdversarialImages
from logitpair.evaluation.attack_run import foreign_code
from logitpair.storage.class_path import describe

BALL = lp.Linf(0.1)
ATTACKS = {"pgd": PGD(BALL, step_size=0.03, steps=4), "bim": PGD(BALL, step_size=0.03, steps=3, random_start=False).without_early_stop()}
Pair = tuple[Tensor, Tensor]


@pytest.fixture
def model(trained: nn.Module) -> nn.Module:
    network = lp.models.SmallConvNet(width=4)
    network.load_state_dict(trained.state_dict())
    return network.eval()


@pytest.fixture
def other() -> nn.Module:
    torch.manual_seed(1)
    return lp.models.SmallConvNet(width=4).eval()


@pytest.fixture(scope="module")
def sample() -> Pair:
    test = lp.data.Digits().test()
    return test.images[:40].float() / 255, test.labels[:40]


def evaluate(model: nn.Module, data: Pair, kept: Path | AdversarialImages, **options: object) -> lp.Evaluation:
    """Every image kept, and those made against a source taken again."""
    return lp.evaluate(model, data, **{"attacks": ATTACKS, "progress": False, "batch_size": 16, "adversarial": kept, **options})


def verify(model: nn.Module, data: Pair, evaluation: lp.Evaluation, kept: Path) -> lp.Verification:
    return lp.verify(model, data, evaluation, kept, progress=False)


def test_kept_images_do_again_what_the_evaluation_says(model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path) -> None:
    evaluation = evaluate(model, sample, tmp_path, sources={"other": other})
    verification = verify(model, sample, evaluation, tmp_path)
    assert verification.holds
    assert [(attack.setting, attack.attack) for attack in verification.attacks] == [
        ("white_box", "pgd"), ("white_box", "bim"), ("other", "pgd"), ("other", "bim"),
    ]  # fmt: skip
    assert [row[0] for row in verification.rows()] == ["white box", "white box", "black box from other", "black box from other"]
    for attack in verification.attacks[:2]:
        assert attack.recorded == attack.again == evaluation.results["attacks"][attack.attack]["correct"] < 40
        assert attack.recorded <= attack.eight_bit <= evaluation.results["clean"]["correct"]
    path = verification.save(tmp_path)
    written = json.loads(path.read_text())
    assert written["holds"] is True
    assert written["weights"] == evaluation.results["weights"]


def test_images_found_in_turn_do_together_what_the_evaluation_says(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    evaluation = evaluate(model, sample, tmp_path, worst_case_only=True)
    verification = verify(model, sample, evaluation, tmp_path)
    (union,) = verification.attacks
    assert verification.holds
    assert (union.setting, union.attack) == ("white_box", "union")
    assert union.recorded == union.again == evaluation.results["white_box_union"]["correct"] < evaluation.results["clean"]["correct"]
    in_turn = evaluation.results["in_turn"]
    assert in_turn["pgd"]["broken"]
    for path in (tmp_path / in_turn["pgd"]["images"]["folder"]).glob("*.npz"):
        kept = dict(np.load(path))
        np.savez(path, **kept | {"x_adv": sample[0][kept["position"]].numpy()})  # which break nothing
    assert verify(model, sample, evaluation, tmp_path).attacks[0].differing == in_turn["pgd"]["broken"]
    for path in (tmp_path / in_turn["bim"]["images"]["folder"]).glob("*.npz"):
        path.unlink()
    with pytest.raises(InputError, match=f"of 'union' are missing for {union.recorded} examples"):
        verify(model, sample, evaluation, tmp_path)


def test_images_of_an_l2_ball_are_held_to_it(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    suite = {"pgd": PGD(lp.L2(1.2), step_size=0.4, steps=6)}
    evaluation = evaluate(model, sample, tmp_path, attacks=suite, curve=[0, 0.6, 1.2])
    assert evaluation.results["attacks"]["pgd"]["largest_distance"] == pytest.approx(1.2)
    accuracies = [point["top1"] for point in evaluation.results["curve"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > accuracies[2]
    verification = verify(model, sample, evaluation, tmp_path)
    assert verification.holds
    (attack,) = verification.attacks
    assert attack.recorded == attack.again <= attack.eight_bit <= attack.again + 2
    record = evaluation.record.attacks["pgd"]
    smaller = record.parameters | {"init_args": record.parameters["init_args"] | {"threat": describe(lp.L2(1.0))}}
    held = msgspec.structs.replace(evaluation.record, attacks={"pgd": msgspec.structs.replace(record, parameters=smaller)})
    assert verify(model, sample, replace(evaluation, record=held), tmp_path).attacks[0].outside > 10
    smaller["init_args"]["threat"] = {"class_path": "logitpair.attacks.PGD", "init_args": {}}
    with pytest.raises(InputError, match="attack 'pgd': logitpair.attacks.PGD is no threat model"):
        verify(model, sample, replace(evaluation, record=held), tmp_path)
    smaller["init_args"]["threat"] = {"class_path": "nowhere.Ball", "init_args": {}}
    with pytest.raises(InputError, match="attack 'pgd': its threat model nowhere.Ball cannot be imported"):
        verify(model, sample, replace(evaluation, record=held), tmp_path)


def test_an_image_that_rounding_moves_out_of_the_ball_breaks_nothing(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    x, y = sample[0] * 0.99 + 0.5 / 255, sample[1]  # no multiples of 1/255, nor is any near them
    suite = {"pgd": PGD(lp.Linf(1e-4), step_size=1e-4, steps=1)}
    evaluation = evaluate(model, (x, y), tmp_path, attacks=suite)
    model.register_forward_pre_hook(lambda module, inputs: torch.where(is_eight_bit(inputs[0]), 1 - inputs[0], inputs[0]))
    assert verify(model, (x.mul(255).round() / 255, y), evaluation, tmp_path).attacks[0].again < 20, "rounded images are taken for others"
    attack = verify(model, (x, y), evaluation, tmp_path).attacks[0]
    assert attack.eight_bit == attack.again == evaluation.results["white_box"]["correct"]


def is_eight_bit(x: Tensor) -> Tensor:
    return ((255 * x).round() / 255 == x).flatten(1).all(1)[:, None, None, None]


def without_weights(evaluation: lp.Evaluation) -> lp.Evaluation:
    return replace(evaluation, record=msgspec.structs.replace(evaluation.record, weights=None))


def test_another_network_is_found_out(model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path) -> None:
    evaluation = evaluate(model, sample, tmp_path)
    with pytest.raises(InputError, match=r"^model: has other weights \(\w{8}\) than what was evaluated \(\w{8}\)"):
        verify(other, sample, evaluation, tmp_path)
    assert not verify(other, sample, without_weights(evaluation), tmp_path).holds


def test_an_image_that_was_moved_out_of_the_ball_breaks_nothing(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    evaluation = evaluate(model, sample, tmp_path)
    for path in (tmp_path / evaluation.results["attacks"]["pgd"]["images"]["folder"]).glob("*.npz"):
        with np.load(path) as arrays:
            content = dict(arrays)
        content["x_adv"][:2] = np.nan
        content["x_adv"][2:4] = 1 - content["x_adv"][2:4]
        np.savez(path, **content)
    after = verify(model, sample, evaluation, tmp_path)
    assert not after.holds
    assert after.attacks[0].outside == 12
    clean = evaluation.results["clean"]["correct"]
    assert after.attacks[0].recorded < after.attacks[0].again <= clean


@pytest.mark.usefixtures("no_shape_checks")
def test_the_folder_of_an_evaluation_is_not_taken_for_one(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="evaluation must be what lp.evaluate gives, or lp.Evaluation.load"):
        lp.verify(model, sample, str(tmp_path), tmp_path)


def test_other_images_missing_images_and_none_at_all_are_refused(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    evaluation = evaluate(model, sample, tmp_path)
    with pytest.raises(InputError, match="data: "):
        verify(model, (sample[0].flip(0), sample[1].flip(0)), evaluation, tmp_path)
    pieces = sorted((tmp_path / evaluation.results["attacks"]["pgd"]["images"]["folder"]).glob("*.npz"))
    pieces[1].write_bytes(pieces[1].read_bytes()[:300])
    with pytest.raises(InputError, match="damaged"):
        verify(model, sample, evaluation, tmp_path)
    pieces[1].unlink()
    with pytest.raises(InputError, match="missing"):
        verify(model, sample, evaluation, tmp_path)
    with pytest.raises(InputError, match="--keep-adversarial"):
        verify(model, sample, lp.evaluate(model, sample, attacks=ATTACKS, progress=False), tmp_path)


def test_a_source_s_images_are_made_once_and_taken_again(model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path) -> None:
    calls = [0]
    other.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    bare = evaluate(model, sample, tmp_path / "none", sources={"other": other}).results["black_box"]
    calls[0] = 0
    evaluate(model, sample, tmp_path, sources={"other": other})
    made, calls[0] = calls[0], 0
    assert made > 10
    torch.manual_seed(5)
    target = lp.models.SmallConvNet(width=4).eval()
    again = evaluate(target, sample, tmp_path, sources={"other": other}).results["black_box"]
    assert calls[0] == 1, "the images were there; it is only tried whether the source takes such images"
    fresh = evaluate(target, sample, tmp_path / "fresh", sources={"other": other}).results["black_box"]
    timeless = [json.dumps(result, default=str, sort_keys=True) for result in (without_times(again), without_times(fresh))]
    assert timeless[0] == timeless[1]
    assert without_times(bare) == without_times(evaluate(model, sample, tmp_path, sources={"other": other}).results["black_box"])


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key != "seconds"}
    return value


def test_a_source_s_images_for_other_labels_are_made_anew(model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path) -> None:
    x, y = sample
    relabelled = y.clone()
    relabelled[5] = (y[5] + 1) % 10
    key = {"of": "anything"}
    store = AdversarialImages(tmp_path)
    found = ATTACKS["pgd"].find(other, x, y)
    position = torch.arange(len(x))
    store.write(key, x, y, position, found)
    assert store.read(key, BALL, x, y, position) is not None
    assert store.read(key, BALL, x, relabelled, position) is None


def test_a_shared_folder_keeps_only_what_is_made_against_sources(model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path) -> None:
    shared = AdversarialImages(tmp_path, sources_only=True)
    results = evaluate(model, sample, shared, sources={"other": other}).results
    assert "images" not in results["attacks"]["pgd"]
    assert len(list(tmp_path.iterdir())) == len(ATTACKS)


@pytest.mark.parametrize("damage", ["outside", "truncated", "not_finite"])
def test_kept_images_that_are_damaged_are_made_anew(model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path, damage: str) -> None:
    before = evaluate(model, sample, tmp_path, sources={"other": other})
    for path in tmp_path.glob("*/*.npz"):
        with np.load(path) as arrays:
            content = dict(arrays)
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:500])
            continue
        content["x_adv"][0] = np.nan if damage == "not_finite" else 1 - content["x_adv"][0]
        np.savez(path, **content)
    after = evaluate(model, sample, tmp_path, sources={"other": other})
    for key in before.ledger:
        np.testing.assert_array_equal(before.ledger[key], after.ledger[key], err_msg=key)


def test_a_transfer_is_every_pair_of_black_boxes(model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path) -> None:
    matrix = lp.transfer({"a": model, "b": other}, sample, attacks=ATTACKS, folder=tmp_path, batch_size=16, progress=False)
    single = lp.evaluate(model, sample, attacks=ATTACKS, sources={"b": other}, progress=False).results
    for attack in (None, "pgd", "bim"):
        expected = single["black_box"]["b"] if attack is None else single["black_box"]["b"]["attacks"][attack]
        assert matrix.accuracy("b", "a", attack)["correct"] == expected["correct"]
    assert all(evaluation.results["transfer"] is True for evaluation in matrix.evaluations.values())
    assert matrix.accuracy("a", "a") == matrix.evaluations["a"].results["white_box"]
    lines = matrix.table().splitlines()
    assert lines[0] == "| made against | a | b |"
    assert lines[2].startswith("| a | ")
    with pytest.raises(InputError, match="two or more"):
        lp.transfer({"a": model}, sample, attacks=ATTACKS, folder=tmp_path)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
    st.sampled_from([0.0, 1 / 255, 8 / 255, 76.5 / 255, 0.1, 0.3]),
    st.integers(0, 2**31),
)
def test_rounding_to_8_bits_stays_in_the_ball_of_8_bit_images(values: list[float], eps: float, seed: int) -> None:
    x = (torch.tensor(values) * 255).round() / 255
    threat = lp.Linf(eps)
    x_adv = threat.random_start(x[None], torch.Generator().manual_seed(seed))[0]
    rounded = threat.eight_bit(x_adv, x)
    assert torch.equal((rounded * 255).round() / 255, rounded)
    assert ((rounded >= 0) & (rounded <= 1)).all()
    assert ((rounded - x).abs() <= eps + 1e-6).all()
    assert ((rounded - x_adv).abs() <= 1 / 255 + 1e-6).all()


def test_rounding_is_to_the_nearest_value_not_downwards() -> None:
    x, x_adv = torch.full((1, 3), 100 / 255), torch.tensor([[100.6, 99.6, 100.4]]) / 255
    assert torch.equal((255 * lp.Linf(0.1).eight_bit(x_adv, x)).round(), torch.tensor([[101.0, 100.0, 100.0]]))


def test_the_seed_and_the_attack_are_part_of_what_is_kept(model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path) -> None:
    folders = set()
    for attacks, seed in ((ATTACKS, 0), (ATTACKS, 1), ({"pgd": replace(ATTACKS["pgd"], steps=3)}, 0)):
        results = evaluate(model, sample, tmp_path, attacks=attacks, seed=seed).results
        folders.add(results["attacks"]["pgd"]["images"]["folder"])
    assert len(folders) == 3


def edited(step: float) -> Callable[..., Tensor]:
    """A user's function, as it is imported after each edit: of one name, with other code."""
    module = ModuleType("own_attack")
    exec(f"def brighter(model, x, y, threat):\n    return x + {step} * threat.eps\n", vars(module))  # noqa: S102
    return module.brighter


def test_images_of_an_attack_whose_code_was_edited_are_made_anew(model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path) -> None:
    distances = []
    for step in (0.0, 1.0):
        attacks = {"own": External(BALL, attack=edited(step))}
        record = evaluate(model, sample, tmp_path, attacks=attacks, sources={"other": other}).record
        distances.append(record.black_box["other"].attacks["own"].largest_distance)
    assert distances == [0, pytest.approx(0.1)]


def test_what_the_package_itself_holds_is_told_apart_by_its_version() -> None:
    assert [foreign_code(attack) for attack in (*ATTACKS.values(), lp.attacks.Square(lp.L2(0.5)))] == [{}] * 3
    of_own_loss = [foreign_code(replace(ATTACKS["pgd"], loss=lambda logits, y, by=by: by * logits.amax(1))) for by in (1, 2)]
    assert of_own_loss[0] != of_own_loss[1]


@dataclass(frozen=True)
class Wrapped(lp.attacks.Attack):
    """An attack of a user's that holds another."""

    inner: lp.attacks.Attack
    threat: lp.Linf = BALL

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> Tensor:
        return self.inner(model, x, y)


def test_the_code_within_an_attack_that_another_holds_counts_too() -> None:
    losses = [replace(ATTACKS["pgd"], loss=lambda logits, y, by=by: by * logits.amax(1)) for by in (1, 2)]
    assert foreign_code(Wrapped(losses[0])) != foreign_code(Wrapped(losses[1]))


def test_what_the_package_loads_meanwhile_changes_no_attacks_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of ``logitpair`` that the attack uses, and that becomes one of the module's own when it is first used."""
    namespace = {"lp": lp, "__name__": "own"}
    exec("def step(model, x, y, threat):\n    return lp.later(x)\n", namespace)  # noqa: S102
    attack = External(BALL, attack=namespace["step"])
    before = foreign_code(attack)
    monkeypatch.setattr(lp, "later", lambda x: x, raising=False)
    assert foreign_code(attack) == before
