"""What counts as right, and which networks are refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair.attacks import APGD, PGD, Attack, DiversifiedPGD, External, IteratedLocalSearch, Square
from logitpair.attacks.base import QueryCounter
from logitpair.evaluation.attack_run import Correctness, attack_batch, plan

BALL = lp.Linf(0.1)


def test_logits_that_are_not_finite_are_never_right() -> None:
    logits = torch.eye(7)[:3]
    logits[1, 1], logits[2, 6] = torch.nan, torch.inf
    correct = Correctness.of(logits, torch.tensor([0, 1, 2]))
    assert correct.top1.tolist() == [True, False, False]
    assert correct.top5 is not None
    assert correct.top5.tolist() == [True, False, False]


def test_of_equal_logits_what_is_right_is_within_five() -> None:
    correct = Correctness.of(torch.zeros(10, 10), torch.arange(10))
    assert correct.top5 is not None
    assert correct.top1.sum() == 1
    assert (correct.top1 <= correct.top5).all()


def test_a_network_that_is_not_finite_on_some_images_is_refused() -> None:
    class Overflowing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bright = x.flatten(1).mean(1, keepdim=True) > 0.5
            return torch.where(bright, torch.inf, x.flatten(1)[:, :3])

    x = torch.stack([torch.full((1, 2, 2), 0.1), torch.full((1, 2, 2), 0.9)])
    attack = lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1)
    with pytest.raises(lp.InputError, match="logits of 1 of 2 images are not finite"):
        lp.evaluate(Overflowing(), (x, torch.zeros(2, dtype=torch.int64)), attacks={"pgd": attack}, progress=False)


def digits(examples: int) -> tuple[Tensor, Tensor]:
    test = lp.data.Digits().test()
    return test.images[:examples].float() / 255, test.labels[:examples]


def looking(model: nn.Module, x: Tensor, y: Tensor, threat: lp.Linf) -> Tensor:
    model(x)
    return x


SEARCHES = {
    **lp.attacks.paper_suite(eps=0.1, step_size=0.02, steps=4),
    "restarts": PGD(BALL, step_size=0.02, steps=3, restarts=3, target=lp.attacks.LeastLikely()),
    "apgd": APGD(BALL, steps=6, target_rank=2, loss=lp.losses.targeted_margin),
    "diversified": DiversifiedPGD(BALL, steps=3),
    "iterated": IteratedLocalSearch(BALL, chains=2, kicks=2, steps=2, first_steps=2),
    "square": Square(BALL, queries=5),
    "external": External(BALL, attack=looking),
}


@pytest.mark.parametrize("worst_case_only", [False, True])
def test_passes_are_counted_as_often_as_they_happen(trained: nn.Module, worst_case_only: bool) -> None:
    model, source = QueryCounter(trained), QueryCounter(lp.models.SmallConvNet(width=4).eval())
    x, y = digits(24)
    curve = (0.0, 0.05, 0.1)
    runs = plan(model, SEARCHES, {"other": source}, curve, None, 0, None, worst_case_only)
    chunk = attack_batch(model, runs, x, y, torch.arange(24), None)

    def counted(kind: str, of: set[str]) -> float:
        return float(sum(chunk[f"{run.column}/{kind}"].sum() for run in runs if run.setting in of))

    of_model = {"white_box", "curve"}
    assert source.gradients == round(counted("gradients", {"other"}))
    assert source.forwards == round(counted("forwards", {"other"}))
    assert model.gradients == round(counted("gradients", of_model))
    tried = len(SEARCHES) * 24  # what was made against the source
    left: dict[str, int] = {}
    for run in (run for run in runs if run.setting in of_model):
        right = chunk["clean/prediction"] == y if run.stops_early or run.in_turn else chunk["clean/top5"]
        tried += left.get(run.setting, int(right.sum()))
        if run.in_turn:
            left[run.setting] = int((chunk[f"{run.column}/prediction"] == y).sum())
    assert model.forwards == 24 + round(counted("forwards", of_model)) + tried, "the clean logits, the searches, and what was found"
    assert (chunk["white_box/step_ll/forwards"] <= 1).all(), "the score of the last iterate; the clean logits are known"
    assert float(chunk["other/step_ll/forwards"].sum()) == 24, "the clean logits, once for all attacks on the source"
    assert float(chunk["other/iter_ll/forwards"].sum()) == 0


def test_an_attack_finds_what_it_finds_where_nothing_is_remembered(trained: nn.Module) -> None:
    x, y = digits(24)
    (run,) = plan(trained, {"pgd": SEARCHES["restarts"]}, {}, (), None, 0, None, False)
    chunk = attack_batch(trained, [run], x, y, torch.arange(24), None)
    right = trained(x).argmax(1) == y
    streams = lp.rng.ExampleStreams(run.seed, torch.arange(24)[right])
    found = run.attack.find(trained, x[right], y[right], generator=streams)
    assert torch.equal(chunk["white_box/pgd/prediction"][right], trained(found.x_adv).argmax(1))
    assert torch.equal(chunk["white_box/pgd/gradients"][right], found.gradients.double())
    assert torch.equal(chunk["white_box/pgd/forwards"][right], found.forwards.double() - 1), "the clean logits were known"


@dataclass(frozen=True)
class OnlyAt(Attack):
    """Turns into the image of another class those images whose number, by their first pixel, is the radius in tenths."""

    threat: lp.Linf
    seen: list
    other: Tensor

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> Tensor:
        number = (100 * x[:, 0, 0, 0]).round()
        self.seen.append(number.tolist())
        return torch.where((number == round(10 * self.threat.eps))[:, None, None, None], self.other, x)

    def scaled(self, factor: float) -> Self:
        return replace(self, threat=self.threat.scaled(factor))


def test_what_a_small_radius_breaks_is_broken_at_every_larger_one_and_not_attacked_there() -> None:
    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            last = x[:, 0, 1, 1]
            return torch.stack([0.05 - last, last - 0.05], 1)

    x = torch.zeros(5, 1, 2, 2)
    x[:, 0, 0, 0] = torch.arange(5) / 100
    seen: list = []
    other = torch.zeros(1, 2, 2)
    other[0, 1, 1] = 0.1  # within every radius of the curve
    attack = OnlyAt(lp.Linf(0.2), seen, other)
    found = lp.evaluate(
        Bright(), (x, torch.zeros(5, dtype=torch.int64)), attacks={"once": attack}, curve=(0.4, 0.1, 0.3, 0.2), progress=False
    )
    assert seen[1:] == [[0, 1, 2, 3, 4], [0, 2, 3, 4], [0, 3, 4], [0, 4]]
    assert [(point["eps"], point["correct"]) for point in found.results["curve"]] == [(0.1, 4), (0.2, 3), (0.3, 2), (0.4, 1)]
    assert found.ledger["curve/0.4/prediction"].tolist() == [0, 1, 1, 1, 1]
    assert found.ledger["curve/0.4/distance"][1] == found.ledger["curve/0.1/distance"][1] > 0, "that of the image found before"
    assert found.ledger["curve/0.4/forwards"].tolist() == [0, 0, 0, 0, 0]
