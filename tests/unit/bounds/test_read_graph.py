"""Networks read as operations: by modules, functions and methods; and what cannot be read, in one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from bounded_networks import CLASSES, KINDS, SHAPE, images, network
from torch import Tensor, nn

import logitpair as lp
from logitpair import InputError
from logitpair.bounds.graph import Graph
from logitpair.bounds.interval import intervals
from logitpair.bounds.operations import (
    Arithmetic,
    BatchNorm,
    Conv2d,
    Interval,
    LeakyReLU,
    Linear,
    MaxPool2d,
    NonnegativeLinear,
    Scale,
    Sum,
)
from logitpair.bounds.read_graph import read_graph


class Net(nn.Module):
    """A forward that a test writes, with a few layers that it may use."""

    def __init__(self, function: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(72, CLASSES)
        self.norm, self.pool = nn.BatchNorm2d(2), nn.MaxPool2d(2, ceil_mode=True)
        self.gain = nn.Parameter(torch.randn(CLASSES))
        self.function = function
        self.norm.running_mean.uniform_()
        self.double().eval()

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)

    def head(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


def at_points(graph: Graph, x: Tensor) -> Tensor:
    """The logits, one operation after another."""
    lower, upper = intervals(graph, Interval(x, x))[-1]
    assert torch.equal(lower, upper)
    return lower


def kinds(graph: Graph) -> list[type]:
    return [type(step.operation) for step in graph.steps]


@pytest.mark.parametrize("kind", KINDS)
def test_operation_by_operation_it_is_the_network(kind: str) -> None:
    model, x = network(kind), images(9)
    graph = read_graph(model, x)
    torch.testing.assert_close(at_points(graph, x), model(x))
    assert graph.shapes[0] == SHAPE
    assert graph.shapes[-1] == (CLASSES,)
    assert all(max(step.inputs) < number for number, step in enumerate(graph.steps, 1))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: lp.models.LeNet(filters=1), (1, 28, 28)),
        (lambda: lp.models.SmallConvNet(width=2), (1, 8, 8)),
        (lambda: lp.models.StridedConvNet(filters=(2, 2), hidden=4), (1, 28, 28)),
        (lambda: lp.models.CNN6(width=1, channels=2, size=6), (2, 6, 6)),
        (lambda: lp.models.CNN7(width=1, channels=2, size=6), (2, 6, 6)),
        (lambda: lp.models.SmallResNetV2(width=8), (3, 8, 8)),
    ],
    ids=["LeNet", "SmallConvNet", "StridedConvNet", "CNN6", "CNN7", "SmallResNetV2"],
)
def test_the_packages_own_networks_can_be_read(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, x = build().double().eval(), images(3, shape=shape)
    torch.testing.assert_close(at_points(read_graph(model, x), x), model(x))


def test_the_kinds_of_operations() -> None:
    norm = [Arithmetic, Arithmetic]
    first = [*norm, Conv2d, BatchNorm, LeakyReLU, Conv2d, LeakyReLU]
    assert kinds(read_graph(network("convolutions"), images(1))) == [*first, NonnegativeLinear, Linear, BatchNorm, LeakyReLU, Linear]
    pooled = [NonnegativeLinear, Conv2d, MaxPool2d, LeakyReLU, Conv2d, LeakyReLU, MaxPool2d, NonnegativeLinear, Linear]
    assert kinds(read_graph(network("max_pools"), images(1))) == pooled
    graph = read_graph(network("convolutions"), images(1))
    assert graph.nonlinear_inputs == [4, 6, 10]
    assert graph.logits == 12


def test_a_relu_in_place_changes_what_the_shortcut_adds() -> None:
    graph = read_graph(network("residual"), images(1))
    sums = [step for step in graph.steps if isinstance(step.operation, Sum)]
    assert [[type(graph.steps[source - 1].operation) for source in step.inputs] for step in sums] == [[LeakyReLU, BatchNorm], [Conv2d] * 2]


def with_shortcut(net: Net, x: Tensor, relu: Callable[[Tensor], Tensor]) -> Tensor:
    """The shortcut adds what the ReLU left in place."""
    relu(x)
    return net.head(net.conv(x) + x)


READABLE: dict[str, tuple[Callable[[Net, Tensor], object], type]] = {
    "view by the batch's size": (lambda net, x: net.linear(net.conv(x).relu().view(x.size(0), -1)), NonnegativeLinear),
    "reshape by the shape": (lambda net, x: net.linear(x.reshape(x.shape[0], -1)), NonnegativeLinear),
    "torch.flatten": (lambda net, x: net.linear(torch.flatten(x, 1)), NonnegativeLinear),
    "function with the input by name": (lambda net, x: net.head(F.relu(input=x)), LeakyReLU),
    "relu in place of what is used again": (lambda net, x: with_shortcut(net, net.conv(x), lambda x: F.relu(x, inplace=True)), Sum),
    "relu method whose result is left": (lambda net, x: with_shortcut(net, net.conv(x), lambda x: x.relu_()), Sum),
    "relu in place under another name": (
        lambda net, x: with_shortcut(net, net.conv(x), lambda x: F.relu(x.contiguous().detach(), inplace=True)),
        Sum,
    ),
    "relu in place by position": (lambda net, x: with_shortcut(net, net.conv(x), lambda x: F.relu(x, True)), Sum),
    "relu method in place": (lambda net, x: net.head(net.conv(x).relu_()), LeakyReLU),
    "leaky relu by name": (lambda net, x: net.head(F.leaky_relu(x - 0.5, negative_slope=0.3, inplace=True)), LeakyReLU),
    "functional conv2d": (lambda net, x: net.head(F.conv2d(x, net.conv.weight, net.conv.bias, (1, 1), 1)), Conv2d),
    "functional conv2d by names": (lambda net, x: net.head(F.conv2d(x, weight=net.conv.weight, padding="same", dilation=2)), Conv2d),
    "functional linear": (lambda net, x: F.linear(x.flatten(1), net.linear.weight, bias=net.linear.bias), Linear),
    "functional batch norm": (
        lambda net, x: net.head(F.batch_norm(x, net.norm.running_mean, net.norm.running_var, net.norm.weight, net.norm.bias, eps=0.1)),
        BatchNorm,
    ),
    "functional batch norm by names": (
        lambda net, x: net.head(F.batch_norm(x, running_mean=net.norm.running_mean, running_var=net.norm.running_var)),
        BatchNorm,
    ),
    "functional dropout in eval mode": (lambda net, x: net.head(F.dropout(x, 0.9, net.training)), NonnegativeLinear),
    "average pool as a function": (lambda net, x: net.head(F.avg_pool2d(x, 3, 1, 1)), NonnegativeLinear),
    "mean of the logits taken off": (lambda net, x: net.head(x) - net.head(x).mean(1, keepdim=True), Sum),
    "twice the same": (lambda net, x: net.head(x + x), Sum),
    "less than a number": (lambda net, x: net.head(1 - x), Arithmetic),
    "negative": (lambda net, x: -net.head(x), Arithmetic),
    "divided by a tensor": (lambda net, x: net.head(x / torch.tensor([[[0.5]], [[2.0]]])), Arithmetic),
    "by a parameter": (lambda net, x: net.head(x) * net.gain, Arithmetic),
    "in place": (lambda net, x: net.head(net.conv(x).mul_(-2).add_(1).sub_(x)), Sum),
    "max pool by names": (lambda net, x: net.head(F.max_pool2d(x, 3, stride=1, padding=1)), MaxPool2d),
    "method max pool": (lambda net, x: net.head(torch.max_pool2d(x, 3, 1, 1)), MaxPool2d),
    "contiguous": (lambda net, x: net.head(net.conv(x).contiguous().clone()), Conv2d),
}


@pytest.mark.parametrize("name", READABLE)
def test_ways_to_write_it(name: str) -> None:
    function, kind = READABLE[name]
    model, x = Net(function), images(5)
    graph = read_graph(model, x)
    torch.testing.assert_close(at_points(graph, x), model(x))
    assert kind in kinds(graph)


EVEN = torch.ones(2, 2, 2, 2, dtype=torch.float64)


def mixing(function: Callable[[Tensor], Tensor]) -> Callable[[Net, Tensor], object]:
    return lambda net, x: net.head(function(x))


UNREADABLE: dict[str, tuple[Callable[[Net, Tensor], object], str]] = {
    "tanh": (lambda net, x: net.head(x).tanh(), "no bounds are known of tanh "),
    "softmax": (lambda net, x: F.softmax(net.head(x), 1), "no bounds are known of softmax "),
    "interpolation": (mixing(lambda x: F.interpolate(x, size=6)), "no bounds are known of interpolate "),
    "slices": (lambda net, x: net.linear(x.flatten(1)[:, :72]), "no bounds are known of getitem "),
    "a product": (mixing(lambda x: x * x), "no bounds are known of mul "),
    "a quotient": (mixing(lambda x: 1 / (x + 1)), "no bounds are known of truediv "),
    "a sum with a factor": (mixing(lambda x: torch.add(x, x, alpha=2)), "no bounds are known of add "),
    "a pool that rounds up": (lambda net, x: net.head(F.pad(net.pool(x), (1, 2, 1, 2))), "no bounds are known of MaxPool2d "),
    "padding by reflection": (mixing(lambda x: F.pad(x, (1, 0, 0, 0), mode="reflect")), "no bounds are known of pad "),
    "padding by ones": (mixing(lambda x: F.pad(x, (1, 0, 0, 0), value=1)), "no bounds are known of pad "),
    "an uneven convolution": (mixing(lambda x: F.conv2d(x, EVEN, padding="same")), "no bounds are known of conv2d "),
    "a join of the batch": (lambda net, x: net.head(torch.cat([x, x])), "since cat (in cat) does not keep the images"),
    "a steep leak": (mixing(lambda x: F.leaky_relu(x, 1.5)), "no bounds are known of leaky_relu "),
    "a comparison": (mixing(lambda x: x * (x > 0.1)), "no bounds are known of gt "),
    "a number out of the image": (mixing(lambda x: x - x.mean().item()), "since mean (in mean) does not keep the images of a batch apart"),
    "an index": (lambda net, x: net.head(x) + net.head(x).argmax(1), "no bounds are known of argmax "),
    "parts": (lambda net, x: net.head(x) + x.flatten(1).chunk(24, 1)[0], "no bounds are known of chunk "),
    "a branch": (lambda net, x: net.head(x if x.sum() > 36 else 1 - x), "torch.fx cannot trace it: symbolically traced"),
    "its own error": (lambda net, x: net.linear(x), "cannot be read for bounds, since torch.fx cannot trace it: mat1 and mat2 shapes"),
    "a batch that mixes": (mixing(lambda x: x - x.mean(0, keepdim=True)), "since mean (in mean) does not keep the images"),
    "a batch norm in train mode": (
        lambda net, x: net.head(F.batch_norm(x, net.norm.running_mean, net.norm.running_var, training=True, momentum=0)),
        "no bounds are known of batch_norm ",
    ),
    "a bias out of the image": (lambda net, x: F.linear(x.flatten(1), net.linear.weight, net.head(x)), "no bounds are known of linear "),
    "a pool that turns signs": (mixing(lambda x: F.avg_pool2d(x, 1, divisor_override=-1)), "no bounds are known of avg_pool2d "),
    "a reshape that mixes": (lambda net, x: net.head(net.conv(x).view(-1, 36).view(-1, 72)), "since view (in view) does not keep"),
    "a truth about values": (mixing(lambda x: x * (1 + torch.equal(x, EVEN))), "no bounds are known of equal "),
    "a view in place": (lambda net, x: two_names(net, x - 0.5), "since relu_ (in relu_) changes in place what is used in another"),
    "two outputs": (lambda net, x: (net.head(x), x), "must return logits, and nothing else"),
    "a mapping": (lambda net, x: {"logits": net.head(x)}, "must return logits, and nothing else"),
    "an image": (lambda net, x: net.conv(x), "must return logits, and nothing else"),
    "its input": (lambda net, x: x, "must return logits, and nothing else"),
}


def two_names(net: Net, x: Tensor) -> Tensor:
    """What is changed in place under one name is used under the other."""
    x.flatten(1).relu_()
    return net.head(x)


class Flipping(nn.Sequential):
    """Called otherwise than its class's ``forward`` says."""

    def __call__(self, x: Tensor) -> Tensor:
        return -super().__call__(x)


def flipped_forward(module: nn.Module) -> nn.Module:
    forward = module.forward
    module.forward = lambda x: -forward(x)
    return module


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: nn.Sequential(nn.Flatten(), flipped_forward(nn.Linear(72, 3))), "since '1' has a 'forward' that is not its class's"),
        (lambda: flipped_forward(nn.Sequential(nn.Flatten(), nn.Linear(72, 3))), "since it has a 'forward' that is not its class's"),
        (lambda: nn.Sequential(nn.Flatten(), Flipping(nn.Linear(72, 3))), "since '1' has a '__call__' of its own"),
    ],
)
def test_what_tracing_would_skip_is_refused(build: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_graph(build().double(), images(1))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_one_line(name: str) -> None:
    function, said = UNREADABLE[name]
    with pytest.raises(InputError) as caught:
        read_graph(Net(function), images(1))
    text = str(caught.value)
    assert text.startswith("model: ")
    assert said in text
    assert "\n" not in text
    assert ("accepted: Linear, Conv2d" in text) == ("no bounds are known" in said)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(2, track_running_stats=False), nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")])
def test_layers_that_behave_otherwise_are_refused(layer: nn.Module) -> None:
    with pytest.raises(InputError, match=f"no bounds are known of {type(layer).__name__} "):
        read_graph(nn.Sequential(layer, nn.Flatten(), nn.Linear(72, 3)).double(), images(1))


def test_it_is_read_as_in_eval_mode_and_left_as_it_was() -> None:
    model = nn.Sequential(nn.Dropout(), network("convolutions")).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = images(4)
    graph = read_graph(model, x)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(at_points(graph, x), model.eval()(x))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_change_later_are_those_used(kind: str) -> None:
    model, x = network(kind), images(4)
    graph = read_graph(model, x)
    with torch.no_grad():
        for tensor in [*model.parameters(), *(buffer for name, buffer in model.named_buffers() if name.endswith("running_mean"))]:
            tensor.add_(0.1)
    torch.testing.assert_close(at_points(graph, x), model(x))


def test_a_gradient_reaches_every_parameter() -> None:
    model, x = network("residual"), images(4)
    at_points(read_graph(model, x), x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


OWN_PARAMETERS: dict[str, Callable[[Net, Tensor], object]] = {
    "factor": lambda net, x: net.head(x) * net.gain,
    "divisor": lambda net, x: net.head(x) / net.gain,
    "added": lambda net, x: net.head(x) + net.gain,
    "taken from": lambda net, x: net.gain - net.head(x),
    "weight of a function": lambda net, x: F.linear(x.flatten(1), net.linear.weight, net.gain),
}


@pytest.mark.parametrize("name", OWN_PARAMETERS)
def test_parameters_of_the_network_itself_are_followed_and_trained(name: str) -> None:
    model, x = Net(OWN_PARAMETERS[name]), images(4)
    graph = read_graph(model, x, trained=True)
    with torch.no_grad():
        model.gain.mul_(-3)
    found, wanted = at_points(graph, x), model(x)
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(logits.square().sum(), model.gain)[0] for logits in (found, wanted)]
    torch.testing.assert_close(*gradients)


UNTRAINABLE: dict[str, tuple[Callable[[Net, Tensor], object], str]] = {
    "weights by hand": (lambda net, x: F.linear(x.flatten(1), net.linear.weight / net.linear.weight.norm()), "computed from weights"),
    "a reshaped parameter": (lambda net, x: net.head(x) + net.gain.view(1, -1), "computed from weights"),
    "one norm for two": (lambda net, x: net.head(net.norm(net.conv(net.norm(x)))), "called twice"),
    "a function": (lambda net, x: net.head(F.batch_norm(x, net.norm.running_mean, net.norm.running_var)), "functional.batch_norm"),
}


@pytest.mark.parametrize("name", UNTRAINABLE)
def test_what_bounds_could_not_follow_in_training_is_refused_there_alone(name: str) -> None:
    function, words = UNTRAINABLE[name]
    model, x = Net(function), images(4)
    torch.testing.assert_close(at_points(read_graph(model, x), x), model(x))
    with pytest.raises(InputError, match=words):
        read_graph(model, x, trained=True)


def test_what_does_not_reach_the_logits_is_left_out() -> None:
    model, x = Net(lambda net, x: (net.norm(x).relu(), net.head(x.relu()))[1]), images(4)
    graph = read_graph(model, x)
    torch.testing.assert_close(at_points(graph, x), model(x))
    assert kinds(graph) == [LeakyReLU, NonnegativeLinear, Linear]


def test_batch_norms_can_be_given_other_statistics() -> None:
    model, x = network("convolutions"), images(6)
    graph, norm = read_graph(model, x), model.model[1]
    before = at_points(graph, x)
    mean, variance = torch.rand(2, 4, dtype=torch.float64)
    changed = graph.normalised_by({norm: (mean, variance)})
    torch.testing.assert_close(at_points(graph, x), before)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    torch.testing.assert_close(at_points(changed, x), model(x))
    assert sum(isinstance(step.operation, BatchNorm) for step in changed.steps) == 1
    assert sum(isinstance(step.operation, Scale) for step in changed.steps) == 1
