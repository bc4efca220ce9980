"""Networks that tracing would misread: each is refused, and none of its images certified."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import logitpair as lp
from logitpair import InputError
from logitpair.bounds.read_graph import read_graph
from logitpair.certification import certify


class Net(nn.Module):
    """A forward that a test writes, with a layer that it may use."""

    def __init__(self, function: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.gate, self.function = nn.Linear(2, 2), function
        self.token = nn.Parameter(torch.zeros(1, 1))
        with torch.no_grad():
            self.gate.weight.copy_(torch.tensor([[0, 0], [50.0, 0]]))
            self.gate.bias.copy_(torch.tensor([0, -32.5]))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x.flatten(1))


class Bent(nn.Linear):
    """A linear layer whose forward is its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - 30 * F.relu(0.4 - x)


class AlwaysTraining(nn.Sequential):
    """Normalises by the batch in eval mode too."""

    def train(self, mode: bool = True) -> AlwaysTraining:
        super().train(mode)
        self[0].train()
        return self


@fx.wrap
def flatten(x: Tensor, start: int) -> Tensor:
    """Not torch's."""
    h = x.flatten(start)
    return h + 20 * (h - 0.7).clamp(min=0)


@fx.wrap
def numel(x: Tensor) -> int:
    """Not torch's."""
    return int((x > 0.66).sum())


def through_data(net: Net, x: Tensor) -> Tensor:
    h = x * 1.0
    h.data = h + F.relu(net.gate(x))
    return h


def constant_changed(net: Net, x: Tensor) -> Tensor:
    factor = torch.ones(1)
    x = x + F.relu(net.gate(x)) * factor
    factor *= 0
    return x


def in_float16(net: Net, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.float16):
        return net.gate(x)


MISREAD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "data set of a value": (lambda: Net(through_data), "'data' of a tensor is set"),
    "a constant changed after its use": (lambda: Net(constant_changed), "it gives other logits near some of the images"),
    "batch norm in train mode": (
        lambda: AlwaysTraining(nn.BatchNorm2d(1, momentum=0.0), nn.Flatten()),
        "no bounds are known of BatchNorm2d",
    ),
    "a function of torch's name": (lambda: Net(lambda _, x: flatten(x, 1)), "no bounds are known of flatten"),
    "a number of torch's name": (lambda: Net(lambda _, x: x * numel(x)), "no bounds are known of numel"),
    "a join with a parameter": (
        lambda: Net(lambda net, x: torch.cat([net.token.expand(net.gate(x).shape[0], 1), net.gate(x)], 1)),
        "no bounds are known of cat",
    ),
    "half precision within": (lambda: Net(in_float16), "away from those of a copy in float64"),
    "logits that are rounded": (lambda: Net(lambda _, x: (x + 16384.0) - 16384.0), "away from those of a copy in float64"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MISREAD)
@pytest.mark.usefixtures("no_shape_checks")
def test_it_is_refused(name: str) -> None:
    build, said = MISREAD[name]
    x = torch.tensor([[0.64, 0.4], [0.4988, 0.5008], [0.45, 0.5], [0.36, 0.21]]).view(4, 1, 1, 2)
    with pytest.raises(InputError, match=said) as caught:
        lp.certify(build(), (x, torch.tensor([0, 1, 1, 0])), threat=lp.Linf(0.05), method="crown", progress=False)
    assert len(str(caught.value).splitlines()) == 1


def test_operations_that_agree_at_the_image_alone_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that overlooks what the first image does not show."""

    def straight(_: Net, x: Tensor) -> Tensor:
        return x

    bent = Net(lambda net, x: x + F.relu(net.gate(x)))
    monkeypatch.setattr(certify, "read_graph", lambda model, x: read_graph(Net(straight).to(x.dtype), x))
    x = torch.tensor([0.64, 0.4]).view(1, 1, 1, 2)
    with pytest.raises(InputError, match="it gives other logits near some of the images"):
        lp.certify(bent, (x, torch.tensor([0])), threat=lp.Linf(0.05), method="ibp", progress=False)


def test_a_network_without_a_gradient_is_bounded_and_not_attacked() -> None:
    def in_place(_: Net, x: Tensor) -> Tensor:
        h = F.relu(x)
        h.add_(1)  # which the ReLU's gradient needs as it was
        return h

    x = torch.tensor([0.6, 0.5]).view(1, 1, 1, 2)
    found = [
        lp.certify(Net(in_place), (x, torch.tensor([0])), threat=lp.Linf(eps), progress=False).certified_accuracy for eps in (0.04, 0.06)
    ]
    assert found == [1, 0]


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_is_certified_as_the_one_within() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    x = torch.rand(6, 1, 3, 4)
    data = x, model(x).argmax(1)
    found = [
        lp.certify(net, data, threat=lp.Linf(0.01), progress=False).ledger["certified_by"].tolist() for net in (model, compiled(model))
    ]
    assert found[0] == found[1]


def test_a_layer_of_a_users_is_read_as_its_own_forward_when_parametrized() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(Bent(2, 2)))
    x = torch.tensor([0.45, 0.5]).view(1, 1, 1, 2)
    y = model(x).argmax(1)
    certificate = lp.certify(model, (x, y), threat=lp.Linf(0.1), method="ibp", progress=False)
    logits = model(x + 0.2 * torch.rand(500, 1, 1, 2) - 0.1)
    margins = logits[:, y] - logits[:, 1 - y]
    assert float(certificate.ledger["bound"][0]) <= margins.min()


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]
