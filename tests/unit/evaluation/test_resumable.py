"""Evaluation in parts: interrupted and gone on with, shared between processes, never mixed with another one's parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import PGD, Attack, AttackResult, DiversifiedPGD, Square
from logitpair.evaluation.resumable import Execution, resumable_map
from logitpair.runtime.distributed import World

BALL = lp.Linf(0.1)
ATTACK = PGD(BALL, step_size=0.03, steps=4, restarts=2)
UNEQUAL = ("created", "wall_time_seconds", "seconds", "hardware", "batch_size", "cache_key")
Pair = tuple[Tensor, Tensor]


@pytest.fixture
def model(trained: nn.Module) -> nn.Module:
    network = lp.models.SmallConvNet(width=4)
    network.load_state_dict(trained.state_dict())
    return network.double().eval()


@pytest.fixture(scope="module")
def sample() -> Pair:
    test = lp.data.Digits().test()
    return test.images[:40].double() / 255, test.labels[:40]


CALLS = SimpleNamespace(images=0, attacks=0, last=10**9)  # of an own class it would count as part of the attack's code
"""Counts the attacked images; every attack from the ``last``-th on is interrupted, as by a kill."""


def reset_calls(last: int = 10**9) -> None:
    CALLS.images, CALLS.attacks, CALLS.last = 0, 0, last


@dataclass(frozen=True)
class Watched(Attack):
    """PGD that counts, and can be interrupted."""

    attack: PGD = ATTACK
    threat: lp.Linf = BALL

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> AttackResult:
        if CALLS.attacks >= CALLS.last:
            raise KeyboardInterrupt
        CALLS.attacks, CALLS.images = CALLS.attacks + 1, CALLS.images + len(x)
        return self.attack.search(model, x, y, generator)

    def scaled(self, factor: float) -> Self:
        return replace(self, attack=self.attack.scaled(factor))

    def without_early_stop(self) -> Self:
        return replace(self, attack=self.attack.without_early_stop())


def evaluate(model: nn.Module, data: object, folder: Path | None = None, **options: object) -> lp.Evaluation:
    return lp.evaluate(model, data, **{"attacks": {"pgd": ATTACK}, "progress": False, "batch_size": 8, "folder": folder, **options})


def numbers(evaluation: lp.Evaluation) -> object:
    """Everything in the results but the times."""

    def untimed(value: object) -> object:
        if isinstance(value, dict):
            return {key: untimed(part) for key, part in value.items() if key not in UNEQUAL}
        return [untimed(part) for part in value] if isinstance(value, list) else value

    return untimed(evaluation.results)


def same(a: lp.Evaluation, b: lp.Evaluation) -> None:
    assert numbers(a) == numbers(b)
    assert a.ledger.keys() == b.ledger.keys()
    for key in a.ledger:
        np.testing.assert_array_equal(a.ledger[key], b.ledger[key], err_msg=key)


@pytest.fixture
def other() -> nn.Module:
    torch.manual_seed(1)
    return lp.models.SmallConvNet(width=4).double()


@pytest.mark.parametrize("batch_size", [8, 5])
def test_an_interrupted_evaluation_goes_on_and_ends_with_the_same_numbers(
    model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path, batch_size: int
) -> None:
    options = {"attacks": {"pgd": Watched()}, "sources": {"other": other}, "curve": (0.0, 0.05), "curve_examples": 12}
    reset_calls()
    whole = evaluate(model, sample, **options)
    images = CALLS.images
    reset_calls(last=7)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, sample, tmp_path, **options)
    assert 0 < len(list(tmp_path.glob("parts/*/*.npz"))) < 5
    reset_calls()
    resumed = evaluate(model, sample, tmp_path, batch_size=batch_size, **options)
    assert 0 < CALLS.images < images, "it began anew"
    same(whole, resumed)
    resumed.save(tmp_path)
    assert not (tmp_path / "parts").exists(), "a finished evaluation leaves nothing to go on from"
    reset_calls()


def test_a_damaged_part_is_done_again(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    whole = evaluate(model, sample, tmp_path)
    parts = sorted(tmp_path.glob("parts/*/*.npz"))
    assert len(parts) == 5
    parts[1].write_bytes(parts[1].read_bytes()[:200])
    parts[3].write_bytes(b"")
    same(whole, evaluate(model, sample, tmp_path))


def test_parts_without_a_fact_that_is_counted_today_are_taken(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    whole = evaluate(model, sample, tmp_path)
    for part in tmp_path.glob("parts/*/*.npz"):
        with np.load(part) as content:
            older = {name: content[name] for name in content.files if "astray" not in name}
            assert len(older) < len(content.files)
        np.savez(part, allow_pickle=False, **older)
    same(whole, evaluate(model, sample, tmp_path))


@pytest.mark.parametrize("change", ["weights", "seed", "attack", "images", "labels", "fewer", "source", "setting", "loss", "in turn"])
def test_parts_of_another_evaluation_are_neither_taken_nor_deleted(
    model: nn.Module, other: nn.Module, sample: Pair, tmp_path: Path, change: str
) -> None:
    model.temperature = 1.0
    small: dict = {"batch_size": 20}  # two parts
    options = small | ({"attacks": {"pgd": replace(ATTACK, loss=lambda logits, y: 0 * logits.sum(1))}} if change == "loss" else {})
    evaluate(model, sample, tmp_path, **options)
    before = set(tmp_path.glob("parts/*/*.npz"))
    options = small.copy()
    if change == "weights":
        with torch.no_grad():
            model.logits.bias[0] += 1
    elif change == "seed":
        options["seed"] = 1
    elif change == "attack":
        options["attacks"] = {"pgd": replace(ATTACK, steps=5)}
    elif change == "images":
        sample = (sample[0].clone(), sample[1])
        sample[0][20] = 0.5  # neither the first nor the last
    elif change == "labels":
        sample = (sample[0], sample[1].clone())
        sample[1][10:30] = (sample[1][10:30] + 1) % 10
    elif change == "setting":
        model.temperature = 1000.0
    elif change == "loss":
        options["attacks"] = {"pgd": replace(ATTACK, loss=lambda logits, y: lp.losses.cross_entropy(logits, y))}
    elif change == "in turn":
        options["worst_case_only"] = True
    elif change == "fewer":
        sample = (sample[0][:30], sample[1][:30])
    else:
        options["sources"] = {"other": other}
    changed = evaluate(model, sample, tmp_path, **options)
    same(changed, evaluate(model, sample, **options))
    assert before < set(tmp_path.glob("parts/*/*.npz"))
    changed.save(tmp_path)
    assert set(tmp_path.glob("parts/*/*.npz")) == before, "the parts of the other evaluation are still there"


@pytest.mark.parametrize("size", [2, 3, 4])
def test_processes_share_the_work_and_come_to_what_one_does(
    model: nn.Module, sample: Pair, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the processes run one after the other here, so nobody may wait, nor see what those before him have done
    monkeypatch.setattr("logitpair.runtime.distributed.dist.barrier", lambda: None)
    monkeypatch.setattr("logitpair.storage.ledger.PartialLedger.done", lambda parts: np.zeros(0, dtype=np.int64))
    options = {"attacks": {"pgd": Watched()}}
    reset_calls()
    alone, images = evaluate(model, sample, **options), CALLS.images
    reset_calls()
    for rank in range(size):
        before = CALLS.images
        world = World(rank=rank, size=size, device=torch.device("cpu"))
        if rank < size - 1:
            with pytest.raises(InputError, match="are missing"):  # the others have not worked yet
                evaluate(model, sample, tmp_path, world=world, **options)
        else:
            shared = evaluate(model, sample, tmp_path, world=world, **options)
        assert CALLS.images > before
    assert CALLS.images == images
    same(alone, shared)


class Limited(nn.Module):
    """A network for which memory is too small from so many images on; counts how often."""

    def __init__(self, network: nn.Module, most: int, error: BaseException) -> None:
        super().__init__()
        self.network, self.most, self.error, self.failed = network, most, error, 0

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            self.failed += 1
            raise self.error
        return self.network(x)


CPU_FULL = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), CPU_FULL, RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")])
@pytest.mark.parametrize("kept", [True, False])
def test_where_memory_is_too_small_half_as_many_images_go_on(
    model: nn.Module, sample: Pair, tmp_path: Path, error: BaseException, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    whole = evaluate(model, sample)
    limited = Limited(model, 6, error)
    with caplog.at_level("INFO", "logitpair"):
        halved = evaluate(limited, sample, tmp_path if kept else None, batch_size=32)
    assert limited.failed == 3, "32, 16 and 8 images: what has failed once is not tried again"
    assert halved.results["batch_size"] == 4
    assert "too small for 8 images at a time; going on with 4" in caplog.messages[-1]
    assert halved.ledger.keys() == whole.ledger.keys()
    for key in whole.ledger:
        np.testing.assert_array_equal(halved.ledger[key], whole.ledger[key], err_msg=key)


def test_fewer_images_than_a_batch_are_halved_and_one_image_is_the_end(model: nn.Module, sample: Pair) -> None:
    limited = Limited(model, 2, torch.OutOfMemoryError("full"))
    assert evaluate(limited, (sample[0][:6], sample[1][:6]), batch_size=1000).results["batch_size"] == 1
    assert limited.failed == 2, "6 images and 3, not 500"
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(Limited(model, 0, torch.OutOfMemoryError("full")), sample)
    with pytest.raises(RuntimeError, match="another"):
        evaluate(Limited(model, 2, RuntimeError("another")), sample)


def test_a_process_short_of_memory_keeps_to_its_own_share(sample: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logitpair.runtime.distributed.dist.barrier", lambda: None)
    monkeypatch.setattr("logitpair.evaluation.resumable._check_complete", lambda *found: None)  # each sees its own share here
    done: list[int] = []
    for rank, most in enumerate((8, 3)):
        sizes: set[int] = set()

        def work(x: Tensor, y: Tensor, position: Tensor, most: int = most, sizes: set[int] = sizes) -> dict[str, Tensor]:
            if len(x) > most:
                raise MemoryError
            sizes.add(len(x))
            return {}

        how = Execution(sample[0].device, 8, 0, World(rank, 2, sample[0].device), progress=False)
        for positions in (np.arange(40), np.arange(20)):  # the second time it is known how many fit
            done += [
                int(each) for chunk in resumable_map(work, sample, "", how, note="", positions=positions) for each in chunk["position"]
            ]
        assert sizes == ({8, 4} if rank == 0 else {2})
    assert sorted(done) == sorted([*range(40), *range(20)])


def test_several_processes_need_a_folder(model: nn.Module, sample: Pair) -> None:
    with pytest.raises(InputError, match="folder"):
        evaluate(model, sample, world=World(rank=0, size=2, device=torch.device("cpu")))


def test_a_loader_has_no_order_to_go_on_from(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    loader = DataLoader(TensorDataset(*sample), batch_size=8)
    same(evaluate(model, loader), evaluate(model, sample))
    with pytest.raises(InputError, match="data: a DataLoader"):
        evaluate(model, loader, tmp_path)


@pytest.mark.parametrize("lost", [2, -1])
def test_a_lost_part_is_noticed(model: nn.Module, sample: Pair, tmp_path: Path, lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(model, sample, tmp_path)
    done = np.arange(40)
    sorted(tmp_path.glob("parts/*/*.npz"))[lost].unlink()
    with monkeypatch.context() as patch:
        patch.setattr("logitpair.storage.ledger.PartialLedger.done", lambda parts: done)  # as where another process deleted it meanwhile
        with pytest.raises(InputError, match="8 are missing"):
            evaluate(model, sample, tmp_path)
    same(whole, evaluate(model, sample, tmp_path))


def test_a_save_deletes_no_file_that_is_not_its_own(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "mine.txt").write_text("mine")
    evaluate(model, sample, tmp_path).save(tmp_path)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["mine.txt"]


def test_logits_that_are_no_numbers_are_no_right_answers(model: nn.Module, sample: Pair) -> None:
    class Overflowing(nn.Module):
        """Right as long as nothing is changed; anything brighter gives NaN."""

        def forward(self, x: Tensor) -> Tensor:
            logits = 5 * nn.functional.one_hot(sample[1][: len(x)], 10).to(x.dtype) + 0 * x.sum()
            return torch.where((x - sample[0][: len(x)]).abs().amax((1, 2, 3))[:, None] > 0.05, torch.nan, logits)

    attack = replace(ATTACK, loss=lp.losses.misclassification_margin)
    evaluation = evaluate(Overflowing(), sample, attacks={"pgd": attack}, batch_size=40)
    assert (evaluation.ledger["white_box/pgd/prediction"] == -1).all(), "also where argmax would have named another class"
    results = evaluation.results
    assert results["clean"]["correct"] == 40
    assert results["white_box"]["correct"] == 0
    assert results["white_box"]["top5"] == 0
    with pytest.raises(InputError, match="not finite"):
        evaluate(nn.Sequential(model, nn.Threshold(1e9, float("nan"))), sample)


def test_what_was_first_to_break_an_example_is_recorded(model: nn.Module, sample: Pair) -> None:
    weak = PGD(BALL, step_size=0.02, steps=3)
    strong = PGD(lp.Linf(0.2), step_size=0.02, steps=10, restarts=2)
    evaluation = evaluate(model, sample, attacks={"weak": weak, "strong": strong})
    ledger, attacks = evaluation.ledger, evaluation.results["attacks"]
    right = ledger["clean/prediction"] == ledger["y"]
    by_weak, by_strong = (right & (ledger[f"white_box/{name}/prediction"] != ledger["y"]) for name in ("weak", "strong"))
    assert 0 < by_weak.sum() < by_strong.sum() < right.sum(), "the test needs all kinds"
    expected = np.where(~right, -2, np.where(by_weak, 0, np.where(by_strong, 1, -1)))
    assert np.array_equal(ledger["first/attack"], expected)
    only_strong = by_strong & ~by_weak
    assert np.array_equal(ledger["first/step"][by_weak], ledger["white_box/weak/step"][by_weak])
    assert np.array_equal(ledger["first/restart"][only_strong], ledger["white_box/strong/restart"][only_strong])
    assert (ledger["first/step"][~by_weak & ~by_strong] == -1).all()
    assert attacks["weak"]["broken"] == {"total": by_weak.sum(), "first": by_weak.sum(), "alone": (by_weak & ~by_strong).sum()}
    assert attacks["strong"]["broken"] == {"total": by_strong.sum(), "first": only_strong.sum(), "alone": only_strong.sum()}


def test_the_course_of_an_attack_is_that_of_shorter_ones(model: nn.Module, sample: Pair) -> None:
    attack = PGD(BALL, step_size=0.02, steps=6, restarts=3)
    course = evaluate(model, sample, attacks={"pgd": attack}).results["attacks"]["pgd"]["still_correct"]
    assert len(course["steps"]) == 7
    assert len(course["restarts"]) == 3
    assert course["steps"][-1] == course["restarts"][0]
    for steps in (1, 3, 6):
        shorter = evaluate(model, sample, attacks={"pgd": replace(attack, steps=steps, restarts=1)}).results["attacks"]["pgd"]["correct"]
        assert course["steps"][steps] == shorter
    for restarts in (1, 2, 3):
        fewer = evaluate(model, sample, attacks={"pgd": replace(attack, restarts=restarts)}).results["attacks"]["pgd"]["correct"]
        assert course["restarts"][restarts - 1] == fewer
    assert course["steps"][0] > course["steps"][-1]


def test_the_course_of_an_attack_ends_with_what_it_leaves_whatever_it_does_before_its_steps(model: nn.Module, sample: Pair) -> None:
    attack = DiversifiedPGD(BALL, steps=2, diversify=3, candidates=1)
    entry = evaluate(model, sample, attacks={"diversified": attack}).record.attacks["diversified"]
    assert entry.still_correct
    assert entry.still_correct.steps[2] > entry.still_correct.steps[-1] == entry.correct


def test_an_attack_that_knows_no_steps_has_no_course_where_it_breaks_nothing_either(model: nn.Module, sample: Pair) -> None:
    entry = evaluate(model, sample, attacks={"square": Square(lp.Linf(1e-6), queries=2)}).record.attacks["square"]
    assert entry.broken
    assert entry.broken.total == 0
    assert entry.still_correct is None


def test_an_attack_that_searches_to_its_last_step_has_no_course(model: nn.Module, sample: Pair) -> None:
    entry = evaluate(model, sample, attacks={"pgd": replace(ATTACK, restarts=1).without_early_stop()}).results["attacks"]["pgd"]
    assert "still_correct" not in entry


def test_what_a_kill_left_half_written_is_deleted_in_the_end(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    evaluation = evaluate(model, sample, tmp_path)
    (tmp_path / "parts" / evaluation.results["cache_key"] / ".000000000-1a2b3c4d.npz.x7_k2aaa").write_bytes(b"PK")
    evaluation.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "ledger.npz"}
