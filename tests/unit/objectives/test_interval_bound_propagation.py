"""IBP: the worst logits, their gradient, BatchNorm, warm-ups and regularisers."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from bounded_networks import CLASSES, KINDS, images, inside, network
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.bounds.ball import Ball
from logitpair.bounds.interval import intervals
from logitpair.bounds.operations import Interval
from logitpair.bounds.read_graph import read_graph
from logitpair.objectives import IntervalBoundPropagation
from logitpair.objectives.batch_statistics import batch_statistics
from logitpair.objectives.interval_bound_propagation import balance, tightness, worst_logits
from logitpair.threat import L2, Threat

IBP = IntervalBoundPropagation(lp.Linf(0.1), regularization=0.0)


def labels(number: int) -> Tensor:
    return torch.arange(number) % CLASSES


def two_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.ReLU(), nn.Linear(4, CLASSES)).double()


def by_hand(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Of ``two_layers``: the true class's logit stays; each other is as far above it as the hidden intervals allow."""
    lower, upper = ((x - eps).clamp(min=0).flatten(1), (x + eps).clamp(max=1).flatten(1))
    weight, bias = model[1].weight, model[1].bias
    low = lower @ weight.clamp(min=0).T + upper @ weight.clamp(max=0).T + bias
    high = upper @ weight.clamp(min=0).T + lower @ weight.clamp(max=0).T + bias
    low, high = low.relu(), high.relu()
    rows, clean = [], model(x)
    for i, label in enumerate(y.tolist()):
        gap = model[3].weight - model[3].weight[label]
        above = high[i] @ gap.clamp(min=0).T + low[i] @ gap.clamp(max=0).T + model[3].bias - model[3].bias[label]
        rows.append(clean[i, label] + above)
    return torch.stack(rows)


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.7])
def test_the_worst_logits_of_two_layers_by_hand(eps: float) -> None:
    model, x, y = two_layers(), images(6), labels(6)
    found = replace(IBP, threat=lp.Linf(eps))(model, x, y)
    expected = by_hand(model, x, y, eps)
    torch.testing.assert_close(found.logits["certified"], expected)
    torch.testing.assert_close(found.total, F.cross_entropy(expected, y))
    torch.testing.assert_close(found.terms["worst_loss"], F.cross_entropy(expected, y))
    torch.testing.assert_close(found.terms["clean_loss"], F.cross_entropy(model(x), y))
    assert set(found.terms) == {"clean_loss", "worst_loss"}


def test_bounds_are_of_the_network_and_the_images_as_they_are_now() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, CLASSES)).double()
    small, large, y = images(6, shape=(2, 6, 6)), images(6, shape=(2, 9, 9)), labels(6)

    def agrees_with_a_copy(x: Tensor) -> None:
        torch.testing.assert_close(IBP(model, x, y).terms["worst_loss"], IBP(copy.deepcopy(model), x, y).terms["worst_loss"])

    agrees_with_a_copy(small)
    agrees_with_a_copy(large)
    model[4] = nn.Linear(12, CLASSES).double()
    agrees_with_a_copy(large)
    agrees_with_a_copy(small)
    model.float()
    agrees_with_a_copy(small.float())


@pytest.mark.parametrize("kind", KINDS)
def test_at_eps_0_it_is_clean_cross_entropy(kind: str) -> None:
    model, x, y = network(kind), images(6), labels(6)
    for training in (False, True):
        model.train(training)
        for module in model.modules():
            module.train(training and not isinstance(module, nn.Dropout))
        found = replace(IBP, threat=lp.Linf(0.0))(model, x, y)
        torch.testing.assert_close(found.logits["certified"], found.logits["clean"])
        torch.testing.assert_close(found.total, F.cross_entropy(found.logits["clean"], y))


@pytest.mark.parametrize("threat", [lp.Linf(0.1), L2(0.3)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_image_in_the_ball_is_worse(kind: str, threat: Threat) -> None:
    model, x, y = network(kind), images(4), labels(4)
    worst = replace(IBP, threat=threat)(model, x, y).logits["certified"]
    assert torch.equal(worst.gather(1, y[:, None]), model(x).gather(1, y[:, None]))
    points = inside(Interval(*threat.box(x)), 50).flatten(0, 1)
    logits = model(threat.project(points, x.repeat(50, 1, 1, 1))).unflatten(0, (50, 4))
    above, most = logits - logits.gather(2, y[:, None].expand(50, 4, 1)), worst - worst.gather(1, y[:, None])
    assert (above <= most + 1e-9).all()
    assert (
        F.cross_entropy(logits.flatten(0, 1), y.repeat(50), reduction="none")
        <= F.cross_entropy(worst, y, reduction="none").repeat(50) + 1e-9
    ).all()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("regularization", [0.0, 0.5])
def test_the_gradient_by_finite_differences(regularization: float, training: bool) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 2, 3, stride=2, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, CLASSES)]
    model, x, y = nn.Sequential(*layers).double().train(training), images(5), labels(5)
    objective = IntervalBoundPropagation(lp.Linf(0.05), clean_weight=0.3, regularization=regularization)
    found = objective(model, x, y)
    found.total.backward()
    for parameter in model.parameters():
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1), dtype=parameter.dtype)
        values = []
        for step in (1e-6, -2e-6):
            parameter.data.add_(step * direction)
            values.append(objective(model, x, y).total.item())
        parameter.data.add_(1e-6 * direction)
        assert (values[0] - values[1]) / 2e-6 == pytest.approx((parameter.grad * direction).sum().item(), rel=1e-4, abs=1e-7)


def test_batch_norm_in_train_mode_bounds_by_the_statistics_of_the_clean_batch() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4)
    model, x, y = (
        nn.Sequential(nn.Flatten(), nn.Linear(72, 4, bias=False), norm, nn.ReLU(), nn.Linear(4, CLASSES)).double(),
        images(7),
        labels(7),
    )
    norm.weight.data.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    norm.bias.data.normal_()
    norm.running_mean.fill_(5.0)
    hidden = x.flatten(1) @ model[1].weight.T
    factor = norm.weight / (hidden.var(0, correction=0) + norm.eps).sqrt()
    merged = nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.ReLU(), model[4]).double()
    merged[1].weight.data = (model[1].weight * factor[:, None]).detach()
    merged[1].bias.data = (norm.bias - hidden.mean(0) * factor).detach()
    found = IBP(model.train(), x, y)
    torch.testing.assert_close(found.logits["clean"], merged(x))
    torch.testing.assert_close(found.logits["certified"], by_hand(merged, x, y, 0.1))
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, 0.9 * 5 + 0.1 * hidden.mean(0).detach())
    before = norm.running_mean.clone()
    again = IBP(model.eval(), x, y)
    assert torch.equal(norm.running_mean, before)
    assert not torch.allclose(again.logits["certified"], found.logits["certified"]), "in eval mode by the running statistics"
    torch.testing.assert_close(again.logits["clean"], model(x))


def test_statistics_are_those_that_a_forward_pass_normalises_by() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4), nn.BatchNorm1d(4)).double()
    x = images(5)
    with batch_statistics(model.train()) as found:
        model(x)
    first = model[0](x)
    torch.testing.assert_close(found[model[1]], (first.mean((0, 2, 3)), first.var((0, 2, 3), correction=0)))
    assert set(found) == {model[1], model[4]}
    model[1].eval()
    with batch_statistics(model) as found:
        model(x)
    assert set(found) == {model[4]}
    model(x)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_warm_up() -> None:
    objective = IntervalBoundPropagation(lp.Linf(0.4), clean_weight=0.2, warmup=4, regularization=0.8)
    found = [objective.at(epoch) for epoch in (0, 1, 2, 4, 9)]
    assert [each.threat.eps for each in found] == pytest.approx([0, 0.4 / 13, 0.4 * 5 / 13, 0.4, 0.4])
    assert [each.clean_weight for each in found] == pytest.approx([1, 1 - 0.8 / 13, 1 - 0.8 * 5 / 13, 0.2, 0.2])
    assert [each.regularization for each in found] == pytest.approx([0.8, 0.8 * 12 / 13, 0.8 * 8 / 13, 0, 0])
    assert replace(objective, warmup=0).at(0).threat.eps == 0.4
    model, x, y = two_layers(), images(4), labels(4)
    start = objective.at(0)(model, x, y)
    assert set(start.terms) == {"clean_loss", "worst_loss", "tightness", "balance"}
    torch.testing.assert_close(start.total, F.cross_entropy(model(x), y) + 0.8 * (start.terms["tightness"] + start.terms["balance"]))


def test_the_mixture() -> None:
    model, x, y = two_layers(), images(4), labels(4)
    found = IntervalBoundPropagation(lp.Linf(0.1), clean_weight=0.25, regularization=2.0)(model, x, y)
    terms = found.terms
    expected = 0.25 * terms["clean_loss"] + 0.75 * terms["worst_loss"] + 2 * (terms["tightness"] + terms["balance"])
    torch.testing.assert_close(found.total, expected)


def layer(*pairs: tuple[float, float]) -> Interval:
    lower, upper = torch.tensor(pairs, dtype=torch.float64).T
    return Interval(lower[None], upper[None])


@pytest.mark.parametrize(("width", "expected"), [(0.1, 0), (0.2, 0), (0.4, 0.5), (1e9, 1), (0.0, 0)])
def test_tightness(width: float, expected: float) -> None:
    image = layer((0.0, 0.1), (0.2, 0.3))
    assert tightness(image, layer((1.0, 1 + width), (-1.0, width - 1))).item() == pytest.approx(expected, abs=1e-6)


def test_balance() -> None:
    """Two active neurons of center 2 and two inactive ones of center -2: as much on either side, of either measure."""
    even = layer((1.0, 3.0), (1.0, 3.0), (-3.0, -1.0), (-3.0, -1.0))
    assert balance(even).item() == 0
    one_sided = layer((1.0, 3.0), (2.0, 4.0))
    assert balance(one_sided).item() == pytest.approx(2)
    undecided = layer((-1.0, 1.0), (-2.0, 3.0))
    assert balance(undecided).item() == 0
    # centers 4 and -1: the ratio of the means is 1/4; their spreads about 1.5 are alike
    assert balance(layer((3.0, 5.0), (-2.0, 0.0 - 1e-9))).item() == pytest.approx(0.5, abs=1e-6)


def test_regularisers_are_the_means_over_all_layers_before_a_relu() -> None:
    model, x, y = network("fully_connected"), images(5), labels(5)
    graph = read_graph(model, x)
    found = intervals(graph, Ball(IBP.threat, x).box)
    terms = replace(IBP, regularization=1.0)(model, x, y).terms
    torch.testing.assert_close(terms["tightness"], (tightness(found[0], found[2]) + tightness(found[0], found[4])) / 2)
    torch.testing.assert_close(terms["balance"], (balance(found[2]) + balance(found[4])) / 2)


def test_a_network_without_relus_can_be_trained_from_the_start() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES)).double()
    found = replace(IBP, regularization=1.0)(model, images(4), labels(4))
    assert torch.isfinite(found.total)


def test_bounds_follow_the_weights_as_they_are_trained() -> None:
    model, x, y = two_layers(), images(4), labels(4)
    IBP(model, x, y)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.5)
    torch.testing.assert_close(IBP(model, x, y).logits["certified"], by_hand(model, x, y, 0.1))


def test_a_network_that_cannot_be_read_is_refused_before_training() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES), nn.Tanh()).double()
    with pytest.raises(InputError, match="no bounds are known of Tanh"):
        IBP.prepare(model, images(2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"clean_weight": 1.5}, "clean_weight"),
        ({"clean_weight": -0.1}, "clean_weight"),
        ({"warmup": -1}, "warmup"),
        ({"regularization": -1}, "regularization"),
        ({"threat": 0.3}, "threat"),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_bad_settings_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        IntervalBoundPropagation(**{"threat": lp.Linf(0.1), **settings})


def test_the_worst_logits_do_not_depend_on_the_other_images() -> None:
    model, x, y = network("residual"), images(5), labels(5)
    graph = read_graph(model, x)

    def worst(x: Tensor, y: Tensor) -> Tensor:
        ball = Ball(lp.Linf(0.1), x)
        return worst_logits(graph, intervals(graph, ball.box), ball, model(x), y)

    torch.testing.assert_close(worst(x, y), torch.cat([worst(x[i : i + 1], y[i : i + 1]) for i in range(5)]))
