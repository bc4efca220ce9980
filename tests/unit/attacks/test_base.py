"""What all attacks share: arguments of another kind are refused in one line, gradients and networks that recompute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import APGD, PGD, Attack, DiversifiedPGD, IteratedLocalSearch, LeastLikely, SignStart, Square, bim, fgsm
from logitpair.attacks.base import gradient_of, nth_other_class
from logitpair.rng import ExampleStreams

BALL = lp.Linf(0.1)
X, Y = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])


def pgd(**options: object) -> PGD:
    return PGD(**{"threat": BALL, "step_size": 0.1, "steps": 1, **options})


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "steps": (lambda: pgd(steps=10.0), r"^steps must be a whole number of at least 1, not 10\.0 \(write 10\)$"),
    "restarts": (lambda: pgd(restarts=2.0), "^restarts must be a whole number"),
    "bim_steps": (lambda: bim(BALL, step_size=0.1, steps=3.0), "^steps must be a whole number"),
    "queries": (lambda: Square(BALL, queries=1e3), r"^queries must be a whole number of at least 1, not 1000\.0 \(write 1000\)$"),
    "apgd_steps": (lambda: APGD(BALL, steps=5.0), "^steps must be a whole number"),
    "target_rank": (lambda: APGD(BALL, target_rank=1.0), "^target_rank must be a whole number"),
    "diversify": (lambda: DiversifiedPGD(BALL, diversify=2.0), "^diversify must be a whole number"),
    "target": (lambda: pgd(target=3), r"^target must be None or a target such as LeastLikely\(\) .*, not 3$"),
    "target_labels": (lambda: fgsm(BALL, target=Y), "^target must be None or a target .*, not a Tensor$"),
    "target_class": (lambda: pgd(target=LeastLikely), "^target must be None or a target .*, not the class LeastLikely$"),
    "random_start": (lambda: pgd(random_start="none"), r"^random_start must be True, False or SignStart\(\), not 'none'$"),
    "random_start_class": (lambda: pgd(random_start=SignStart), "^random_start must be .*, not the class SignStart$"),
    "step_size": (lambda: pgd(step_size=torch.tensor([0.1, 0.2])), "^step_size must be a number"),
    **{
        f"{kind.__name__}_{option}": (
            lambda kind=kind, wrong=wrong: kind(**{"threat": BALL, **needed(kind), **wrong}),
            f"^{option} must be",
        )
        for kind in (PGD, APGD, DiversifiedPGD, IteratedLocalSearch, Square)
        for option, wrong in {
            "threat": {"threat": 0.1},
            "loss": {"loss": nn.CrossEntropyLoss},
            "early_stop": {"early_stop": "no"},
        }.items()
        if option != "loss" or kind is not IteratedLocalSearch  # whose loss is always the targeted margin
    },
    "loss_text": (lambda: pgd(loss="cross_entropy"), "^loss must be a function such as .*, not 'cross_entropy'$"),
    "grid": (lambda: lp.attacks.grid(eps=0.1, step_size=[0.1], steps=[1]), "^eps must be a list of values, not 0.1$"),
}


def needed(kind: type) -> dict[str, object]:
    return {"step_size": 0.1, "steps": 1} if kind is PGD else {}


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("what", WRONG)
def test_settings_of_another_kind_are_refused_when_the_attack_is_made(what: str) -> None:
    make, said = WRONG[what]
    with pytest.raises(InputError, match=said) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"generator": 0}, "^generator must be None or a random source such as .*manual_seed.*, not 0$"),
        ({"generator": torch.Generator}, "^generator must be .*, not the class"),
        ({"generator": ExampleStreams(0, torch.arange(2))}, "^generator: has streams of 2 examples; accepted: one for each of 3 images$"),
        ({"x": X.tolist()}, "^x must be a tensor of images, not a list$"),
        ({"y": [0, 1, 2]}, "^y must be a tensor of labels, not a list$"),
    ],
)
def test_arguments_of_another_kind_are_refused(arguments: dict[str, object], said: str) -> None:
    given = {"x": X, "y": Y, "generator": None, **arguments}
    with pytest.raises(InputError, match=said):
        pgd()(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), given["x"], given["y"], generator=given["generator"])


def test_a_gradient_is_zero_where_the_images_are_left_out() -> None:
    x, other = X.clone().requires_grad_(), torch.ones(3, requires_grad=True)
    assert torch.equal(gradient_of(other.sum(), x), torch.zeros_like(x))
    assert other.grad is None
    assert torch.equal(gradient_of((3 * x).sum(), x), torch.full_like(x, 3))
    assert x.grad is None


def test_checkpoints_that_give_no_gradient_of_the_images_are_refused_in_one_line() -> None:
    class Reentrant(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(super().forward, x, use_reentrant=True)

    with pytest.raises(InputError, match="^model: recomputes .*; accepted: checkpoint.*use_reentrant=False"):
        pgd()(Reentrant(nn.Flatten(), nn.Linear(64, 3)), X, Y)


@dataclass(frozen=True)
class Leaving(Attack):
    """Returns images outside the ball and the box, and nothing else."""

    threat: lp.Linf

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> Tensor:
        model(x)
        return x + 1


@dataclass(frozen=True)
class Returning(Attack):
    """Returns what it is told to make of the images."""

    threat: lp.Linf
    make: Callable[[Tensor], object]

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: object) -> object:
        return self.make(x)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: x[:1], r"returned a Tensor of torch.float32, of shape \[1, 1, 8, 8\]; accepted: .* of shape \[3, 1, 8, 8\]$"),
        (lambda x: x.numpy(), "returned a ndarray of float32, "),
        (lambda x: (255 * x).to(torch.uint8), "returned a Tensor of torch.uint8"),
        (lambda x: (x, x), "returned a tuple; accepted: images"),
    ],
)
def test_what_a_search_returns_must_be_an_image_for_each(make: Callable[[Tensor], object], said: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(InputError, match=f"^attack: {said}"):
        Returning(BALL, make)(model, X, Y)
    with pytest.raises(InputError, match=f"^attacks: mine: attack: {said}"):
        lp.evaluate(model, (X, model(X).argmax(1)), attacks={"mine": Returning(BALL, make)}, progress=False)


@pytest.mark.usefixtures("no_shape_checks")
def test_images_of_another_precision_are_brought_into_that_of_the_clean_ones() -> None:
    x_adv = Returning(BALL, lambda x: x.double() + 0.05)(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), X, Y)
    assert x_adv.dtype == torch.float32
    assert BALL.contains(x_adv, X).all()


def test_what_leaves_the_ball_is_brought_back_and_what_is_not_known_is_said_so() -> None:
    x = torch.full((2, 1, 2, 2), 0.95)
    found = Leaving(lp.Linf(0.1)).find(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), x, torch.tensor([0, 1]))
    assert torch.equal(found.x_adv, torch.ones_like(x))
    assert found.restart.tolist() == found.step.tolist() == [-1, -1]
    assert (found.gradients.tolist(), found.forwards.tolist()) == ([0, 0], [1, 1])


def test_there_is_no_class_beyond_the_last() -> None:
    logits, y = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0])
    assert [nth_other_class(logits, y, rank).item() for rank in (1, 2)] == [2, 1]
    with pytest.raises(lp.InputError, match="target_rank must be at most 2"):
        nth_other_class(logits, y, 3)
