"""Square Attack: its schedule and squares by hand, known optima, another library, and models whose gradients say nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError, losses
from logitpair.attacks import PGD, Square
from logitpair.rng import ExampleStreams
from logitpair.threat import Draw, bumps

EPS = 0.05
Pair = tuple[Tensor, Tensor]


@pytest.fixture
def sample(digits: Pair) -> Pair:
    return digits[0][:100], digits[1][:100]


def streams(x: Tensor) -> ExampleStreams:
    return ExampleStreams(0, torch.arange(len(x)))


@pytest.mark.parametrize(("queries", "factor"), [(10_000, 1), (1000, 0.1)])
def test_sides_by_hand(queries: int, factor: float) -> None:
    x = torch.zeros(1, 3, 32, 32)
    attack = Square(lp.Linf(EPS), queries=queries, p=0.8)
    at = [10, 20, 60, 210, 510, 1010, 2010, 4010, 6010, 9990]
    sides = [attack.side(round(factor * query), x) for query in at]
    assert sides == [29, 20, 14, 10, 7, 5, 4, 3, 2, 1]  # round(sqrt(0.8 * 1024 / 2^k))
    assert attack.side(1, torch.zeros(1, 3, 8, 64)) == 8, "a square fits into the image"
    if factor == 1:  # halved after these queries, not at them
        later = [[attack.side(after + more, x) for after in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)] for more in (0, 1)]
        assert later == [[29, 20, 14, 10, 7, 5, 4, 3, 2], [20, 14, 10, 7, 5, 4, 3, 2, 1]]


def drawing(numbers: Tensor) -> Draw:
    """These numbers, whoever draws them."""
    return lambda count: numbers[:, :count]


def test_squares_by_hand() -> None:
    x = torch.full((2, 2, 3, 4), 0.5)
    draw = torch.tensor([[0.0, 0.0, 0.2, 0.7], [0.99, 0.5, 0.5, 0.49]])  # row, column, and a sign for each channel
    found = lp.Linf(0.25).patch(x, x, 2, drawing(draw)) - x
    first = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]) / 4
    second = torch.tensor([[0.0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]) / 4
    assert torch.equal(found, torch.stack([torch.stack([-first, first]), torch.stack([second, -second])]))
    opposite = lp.Linf(0.25).patch(x - 0.25, x, 2, drawing(draw)) - x
    assert set(opposite.unique().tolist()) == {-0.25, 0.25}, "2 eps take a pixel from one end to the other"


@pytest.mark.parametrize("side", [1, 3, 5])
def test_squares_lie_anywhere_they_fit_with_the_same_chance(side: int) -> None:
    x = torch.full((6000, 1, 5, 6), 0.5)
    draw = torch.rand(6000, 3, generator=torch.Generator().manual_seed(0))
    squares = 2 * (lp.Linf(0.5).patch(x, x, side, drawing(draw)) - x)
    assert (squares.abs().flatten(1).sum(1) == side * side).all()
    corners = squares.abs().flatten(1).argmax(1).bincount(minlength=30).view(5, 6)
    fits = (6 - side) * (7 - side)
    assert (corners > 0).sum() == fits
    assert (corners[corners > 0] - 6000 / fits).abs().max() < 5 * (6000 / fits) ** 0.5 + 1
    assert (squares.sum((1, 2, 3)) > 0).float().mean() == pytest.approx(0.5, abs=0.03)


def stripes(threat: lp.Threat, x: Tensor) -> Tensor:
    """Where Square begins."""
    return threat.pattern(x, Square(threat).draws(x, torch.arange(len(x)), streams(x)))


def test_begins_with_stripes(sample: Pair, trained: nn.Module) -> None:
    x = torch.full((30, 3, 6, 7), 0.5)
    start = stripes(lp.Linf(0.25), x)
    assert torch.equal(start, start[:, :, :1].expand_as(start)), "every column of a channel is of one colour"
    assert start.unique().tolist() == [0.25, 0.75]
    assert (start[:, :, 0] == 0.75).float().mean() == pytest.approx(0.5, abs=0.1)
    found = Square(lp.Linf(0.1), queries=1).find(trained, *sample, generator=streams(sample[0]))
    assert torch.equal(found.x_adv, stripes(lp.Linf(0.1), sample[0]))
    assert (found.forwards == 1).all()


def test_finds_the_worst_case_of_a_linear_model_of_two_classes(linear: nn.Module, middle: Pair) -> None:
    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return linear(x)[:, :2]

    x, y = middle[0], middle[1] % 2
    gap = (linear.weight[1 - y] - linear.weight[y]).detach()
    worst = losses.misclassification_margin(First()(x), y).detach() + EPS * gap.abs().sum(1)
    attack = Square(lp.Linf(EPS), queries=400)
    found = attack.without_early_stop()(First(), x, y, generator=streams(x))
    torch.testing.assert_close(losses.misclassification_margin(First()(found), y).detach(), worst, rtol=0, atol=1e-12)
    assert 0 < (worst > 0).sum() < len(x), "the test needs both kinds"
    assert torch.equal(First()(attack(First(), x, y, generator=streams(x))).argmax(1) != y, worst > 0)


def test_bumps_by_hand() -> None:
    """Of a square of 3 the upper bump is a row, the lower one two: at the middle 1 + 1/4, next to it 1/4."""
    upper, lower = torch.tensor([[0.25, 1.25, 0.25]]), torch.tensor([[0.25, 0.25, 0.25], [0.25, 1.25, 0.25]])
    torch.testing.assert_close(bumps(3, torch.zeros(1)), torch.cat([upper / upper.norm(), -lower / lower.norm()]))
    assert bumps(1, torch.zeros(1)).tolist() == [[-1]]
    for side in (2, 6, 7, 29):
        found = bumps(side, torch.zeros(1, dtype=torch.float64))
        assert found.shape == (side, side)
        assert found[: side // 2].norm().item() == pytest.approx(found[side // 2 :].norm().item()) == 1
        assert (found[: side // 2] > 0).all()
        assert (found[side // 2 :] < 0).all()


def test_begins_with_tiles_at_the_edge_of_an_l2_ball() -> None:
    x = torch.full((30, 3, 10, 12), 0.5, dtype=torch.float64)
    change = stripes(lp.L2(0.5), x) - x
    torch.testing.assert_close(change.flatten(1).norm(dim=1), torch.full((30,), 0.5, dtype=torch.float64))
    tiles = change.unfold(2, 2, 2).unfold(3, 2, 2)  # of 2 by 2 pixels
    assert (tiles.sign() == tiles[..., :1, :1].sign() * torch.tensor([[1, 1], [-1, -1]])).all()
    assert (tiles[..., 0, 0] > 0).double().mean() == pytest.approx(0.5, abs=0.06)


def moved(x_adv: Tensor, x: Tensor, side: int, numbers: Tensor, eps: float) -> Tensor:
    """Algorithm 3 for one image, in its own letters, the box aside."""
    (c, height, width), nu, h = x.shape, x_adv - x, side
    (r1, s1), (r2, s2) = ((int(numbers[i] * (height - h + 1)), int(numbers[i + 1] * (width - h + 1))) for i in (0, 2))
    w1, w2 = (torch.zeros(height, width, dtype=torch.bool) for _ in range(2))
    w1[r1 : r1 + h, s1 : s1 + h] = True
    w2[r2 : r2 + h, s2 : s2 + h] = True
    eta = bumps(h, x) if numbers[4] < 0.5 else bumps(h, x).T
    eta = eta / eta.norm()
    unused = eps**2 - nu.norm() ** 2
    after = nu.clone()
    for i in range(c):
        rho = -1 if numbers[5 + i] < 0.5 else 1
        old = nu[i][w1].view(h, h)
        temp = rho * eta + (old / old.norm() if old.norm() > 0 else 0)
        available = ((nu[i][w1 | w2] ** 2).sum() + unused / c).sqrt()
        after[i][w2] = 0
        after[i][w1] = (temp / temp.norm() * available).flatten()
    return x + after


@pytest.mark.parametrize("side", [3, 4, 7])
def test_the_move_in_l2_agrees_with_the_algorithm_written_out(side: int) -> None:
    source = torch.Generator().manual_seed(side)
    x = torch.full((20, 3, 8, 9), 0.5, dtype=torch.float64)
    x_adv = lp.L2(0.3).random_start(x, source)
    x_adv[0] = x[0]
    numbers = torch.rand(20, 8, generator=source, dtype=torch.float64)
    found = lp.L2(0.4).patch(x_adv, x, side, drawing(numbers))
    expected = torch.stack([moved(*each, 0.4) for each in zip(x_adv, x, [side] * 20, numbers, strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(lp.L2(0.4).distance(found, x), torch.full((20,), 0.4, dtype=torch.float64))


def test_the_move_in_l2_takes_squares_of_3_at_least() -> None:
    x = torch.full((5, 1, 6, 6), 0.5)
    numbers = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lp.L2(0.4).patch(x, x, 1, drawing(numbers)), lp.L2(0.4).patch(x, x, 3, drawing(numbers)))
    assert lp.L2(0.4).patch(x[..., :2], x[..., :2], 1, drawing(numbers)).shape == (5, 1, 6, 2)


def test_in_l2_breaks_what_random_points_of_the_ball_do_not(trained: nn.Module, sample: Pair) -> None:
    x, y = sample
    ball = lp.L2(1.0)
    found = Square(ball, queries=200)(trained, x, y, generator=streams(x))
    left = (trained(found).argmax(1) == y).float().mean()
    generator = torch.Generator().manual_seed(0)
    random = torch.stack([trained(ball.random_start(x, generator)).argmax(1) == y for _ in range(30)]).all(0).float().mean()
    by_gradient = (trained(PGD(ball, step_size=0.2, steps=20)(trained, x, y, generator=generator)).argmax(1) == y).float().mean()
    assert by_gradient <= left < random - 0.3


@pytest.mark.parametrize("eps", [0.1, 0.15])
def test_agrees_with_torchattacks(eps: float, trained: nn.Module, sample: Pair) -> None:
    """It never draws the last place, and one place for the whole batch: so a few more are still correct."""
    torchattacks = pytest.importorskip("torchattacks")
    x, y = sample
    with torch.random.fork_rng():  # it sets the global seed
        theirs = torchattacks.Square(trained, eps=eps, n_queries=300)(x, y)
    ours = Square(lp.Linf(eps), queries=300)(trained, x, y, generator=streams(x))
    correct = [(trained(images).argmax(1) == y).sum().item() for images in (ours, theirs)]
    assert -10 <= correct[0] - correct[1] <= 3
    assert 0 < correct[0] < 70, "the attack must break some and not all, or agreement says little"


class Staircase(nn.Module):
    """What the model says of the image rounded to 16 levels: its gradient is zero everywhere."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model((16 * x).round() / 16) + 0 * x.sum((1, 2, 3))[:, None]


class Detached(Staircase):
    """The class alone, and nothing to differentiate."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(self.model(x).argmax(1), 10).float()


def test_breaks_a_model_without_gradients_of_which_pgd_breaks_nothing(trained: nn.Module, sample: Pair) -> None:
    model = Staircase(trained)
    right = model(sample[0]).argmax(1) == sample[1]
    x, y = sample[0][right], sample[1][right]
    by_pgd = PGD(lp.Linf(0.15), step_size=0.02, steps=40, random_start=False)(model, x, y)
    assert torch.equal(by_pgd, x)
    by_square = Square(lp.Linf(0.15), queries=200)(model, x, y, generator=streams(x))
    assert (model(by_square).argmax(1) == y).float().mean() < 0.5


def test_breaks_some_of_a_model_that_tells_its_class_alone(trained: nn.Module, sample: Pair) -> None:
    model = Detached(trained)
    right = model(sample[0]).argmax(1) == sample[1]
    x, y = sample[0][right], sample[1][right]
    found = Square(lp.Linf(0.2), queries=100).find(model, x, y, generator=streams(x))
    assert (model(found.x_adv).argmax(1) != y).float().mean() > 0.2


def test_what_is_counted_is_what_went_through_the_model(trained: nn.Module, sample: Pair) -> None:
    x, y = sample
    seen: list[int] = []
    handle = trained.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    attack = Square(lp.Linf(0.1), queries=40)
    found = attack.find(trained, x, y, generator=streams(x))
    assert found.forwards.sum() == sum(seen)
    assert (found.gradients == 0).all()
    assert seen == sorted(seen, reverse=True)
    broken = trained(found.x_adv).argmax(1) != y
    assert (found.forwards[~broken] == 40).all()
    assert found.forwards[broken].float().mean() < 20
    handle.remove()
    without_early_stop = attack.without_early_stop().find(trained, x, y, generator=streams(x))
    assert (without_early_stop.forwards == 40).all()
    assert torch.equal(trained(without_early_stop.x_adv).argmax(1) != y, broken)
    assert (
        losses.misclassification_margin(trained(without_early_stop.x_adv), y)[broken]
        > losses.misclassification_margin(trained(found.x_adv), y)[broken] - 1e-5
    ).all()


@pytest.mark.parametrize("loss", [losses.misclassification_margin, losses.cross_entropy])
def test_what_an_example_meets_does_not_depend_on_the_batch_size(loss: losses.Loss, trained: nn.Module, sample: Pair) -> None:
    model, x, y = copy.deepcopy(trained).double(), sample[0].double(), sample[1]
    attack = Square(lp.Linf(0.1), queries=60, loss=loss)
    together = attack.find(model, x, y, generator=streams(x))
    for part in (torch.tensor([99]), torch.arange(30, 47), torch.tensor([5, 80, 3])):
        alone = attack.find(model, x[part], y[part], generator=ExampleStreams(0, part))
        torch.testing.assert_close(alone.x_adv, together.x_adv[part], rtol=0, atol=1e-12)
        assert torch.equal(alone.forwards, together.forwards[part])


@pytest.mark.parametrize(("options", "said"), [({"queries": 0}, "queries"), ({"p": 0.0}, "p must"), ({"p": 1.5}, "p must lie in")])
def test_bad_settings_are_refused(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Square(lp.Linf(0.1), **options)
