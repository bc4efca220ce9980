"""Reversible networks: what they compute is what stored activations give, in memory that does not grow."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import logitpair as lp
from logitpair.errors import InputError
from logitpair.models.reversible import ReversibleBlock, ReversibleChain
from logitpair.models.revnet import RevNet, RevNet9

TINY = ((2, 3), (8, 8, 12))
DOUBLE = torch.float64


def pair(dtype: torch.dtype = DOUBLE) -> tuple[RevNet, RevNet]:
    """The same network with recomputed and with stored activations."""
    torch.manual_seed(0)
    recomputed = RevNet(*TINY, classes=5).to(dtype)
    for module in recomputed.modules():
        if isinstance(module, nn.BatchNorm2d):  # nothing at the values it begins with
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    stored = RevNet(*TINY, classes=5, reversible=False).to(dtype)
    stored.load_state_dict(recomputed.state_dict())
    return recomputed, stored


def batch(dtype: torch.dtype = DOUBLE) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(4, 3, 8, 8, dtype=dtype), torch.randint(5, (4,))


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Of the cross-entropy, with respect to the images and every parameter that trains."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    F.cross_entropy(model(x).float() if x.dtype != DOUBLE else model(x), y).backward()
    return {"x": x.grad} | {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    ("units", "widths", "millions", "layers"),
    [((1, 1), (32, 32, 64), 0.0435, 10), ((3, 3, 3), (32, 32, 64, 112), 0.46, 38)],
    ids=["RevNet9", "RevNet-38 as published"],
)
def test_sizes(units: tuple[int, ...], widths: tuple[int, ...], millions: float, layers: int) -> None:
    with torch.device("meta"):
        network = RevNet(units, widths)
        assert RevNet9().state_dict().keys() == RevNet((1, 1), (32, 32, 64)).state_dict().keys()
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.011)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules()) == layers


@pytest.mark.parametrize("size", [32, 17])
def test_logits_of_images_of_any_size_and_channels(size: int) -> None:
    assert RevNet9(classes=7, channels=1, width=8)(torch.rand(2, 1, size, size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("units", "widths", "message"),
    [
        ((1, 1), (8, 8), r"widths must be one number more than units, not 2 for 2"),
        ((), (8,), r"widths must be one number more"),
        ((1,), (8, 9), r"widths must be multiples of 2, not 9"),
        ((0,), (8, 8), r"units must be a whole number of at least 1, not 0"),
    ],
)
def test_sizes_that_make_no_network(units: tuple[int, ...], widths: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RevNet(units, widths)


def test_a_block_is_inverted_by_its_own_functions() -> None:
    block = ReversibleBlock(nn.Conv2d(3, 3, 3, padding=1).double(), nn.Conv2d(3, 3, 1).double())
    x1, x2 = torch.rand(2, 2, 3, 5, 5, dtype=DOUBLE)
    y1, y2 = block(x1, x2)
    torch.testing.assert_close(y2 - block.g(y1), x2)
    torch.testing.assert_close(y1 - block.f(x2), x1)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_and_statistics_equal_those_of_stored_activations(training: bool) -> None:
    recomputed, stored = (model.train(training) for model in pair())
    assert list(recomputed.state_dict()) == list(stored.state_dict())
    x, y = batch()
    for _ in range(2):
        assert_equal(gradients(recomputed, x, y), gradients(stored, x, y))
    torch.testing.assert_close(recomputed(x), stored(x), rtol=0, atol=0)
    assert_equal(dict(recomputed.named_buffers()), dict(stored.named_buffers()), 0)
    counts = {int(count) for name, count in recomputed.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {3 if training else 0}


def test_gradient_of_a_tiny_network_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    model = RevNet((2,), (4, 4), classes=2, channels=1).double()
    parameters = dict(model.named_parameters())
    x = torch.rand(2, 1, 3, 3, dtype=DOUBLE, requires_grad=True)

    def logits(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(parameters, values, strict=True)), (x,))

    for training in (True, False):
        model.train(training)
        assert torch.autograd.gradcheck(logits, (x, *(p.detach().requires_grad_() for p in parameters.values())), fast_mode=True)


def test_under_autocast_the_streams_come_back_whole() -> None:
    recomputed, stored = pair(torch.float32)
    x, y = batch(torch.float32)
    exact = gradients(copy.deepcopy(stored), x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = gradients(recomputed, x, y), gradients(stored, x, y)  # both backward passes within autocast
    assert_equal(dict(recomputed.named_buffers()), dict(stored.named_buffers()), 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(recomputed(x).float(), y)
    recomputed.zero_grad()
    loss.backward()  # outside of it, as training does
    outside = {"x": found["x"]} | {name: parameter.grad for name, parameter in recomputed.named_parameters()}

    def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
        one_vector, other_vector = (torch.cat([found[name].flatten() for name in other]) for found in (one, other))
        return float((one_vector - other_vector).norm() / other_vector.norm())

    rounding = distance(expected, exact)  # of bfloat16, between stored activations in it and in float32
    assert 1e-3 < rounding < 0.2
    assert distance(found, expected) < rounding / 10
    assert_equal(outside, found, 1e-6)


def test_an_attack_gets_its_gradient_and_leaves_none_behind() -> None:
    recomputed, stored = pair()
    x, y = batch()
    for frozen in (False, True):
        found = []
        for model in (recomputed, stored):
            model.requires_grad_(not frozen)
            images = x.clone().requires_grad_()
            found.append(torch.autograd.grad(F.cross_entropy(model(images), y), images)[0])
            assert all(parameter.grad is None for parameter in model.parameters())
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
    before = copy.deepcopy(recomputed.state_dict())
    x_adv = [
        lp.attacks.PGD(lp.Linf(8 / 255), step_size=2 / 255, steps=3)(model, x, y, generator=torch.Generator().manual_seed(0))
        for model in (recomputed, stored)
    ]
    assert torch.equal(*x_adv)
    assert_equal(recomputed.state_dict(), before, 0)


def test_frozen_parameters_get_no_gradient_and_the_others_theirs() -> None:
    recomputed, stored = pair()
    for model in (recomputed, stored):
        for number, parameter in enumerate(model.parameters()):
            parameter.requires_grad_(number % 3 == 1)
    x, y = batch()
    found = gradients(recomputed, x, y)
    assert_equal(found, gradients(stored, x, y))
    assert len(found) == 1 + sum(parameter.requires_grad for parameter in recomputed.parameters())
    whole = gradients(pair()[1], x, y)
    assert_equal(found, {name: whole[name] for name in found})


def test_the_mode_and_the_statistics_are_those_of_the_forward() -> None:
    chain = pair()[0].stages[0].eval()
    x1, x2 = torch.rand(2, 4, 4, 8, 8, dtype=DOUBLE, requires_grad=True)
    expected = torch.autograd.grad(chain(x1, x2)[1].square().sum(), [x1, *chain.parameters()])
    total = chain(x1, x2)[1].square().sum()
    chain.train()(x2, x1)  # moves the running statistics
    found = torch.autograd.grad(total, [x1, *chain.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert all(module.training for module in chain.modules())


def test_twice_through_one_graph_accumulates_and_changed_weights_are_refused() -> None:
    model, _ = pair()
    x, y = batch()
    once = {name: 2 * gradient for name, gradient in gradients(model, x, y).items() if name != "x"}
    model.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward(retain_graph=True)
    loss.backward()
    assert_equal({name: parameter.grad for name, parameter in model.named_parameters()}, once)
    loss = F.cross_entropy(model(x), y)
    with torch.no_grad():
        model.stages[0].blocks[0].f.conv1.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_second_derivatives_are_refused_in_words_and_given_with_stored_activations() -> None:
    recomputed, stored = pair()
    x, y = batch()

    def twice(model: nn.Module) -> Tensor:
        images = x.clone().requires_grad_()
        first = torch.autograd.grad(F.cross_entropy(model(images), y), images, create_graph=True)[0]
        return torch.autograd.grad(first.square().sum(), images)[0]

    with pytest.raises(RuntimeError, match="no second derivatives .* reversible=False"):
        twice(recomputed)
    assert twice(stored).abs().sum() > 0


def test_hooks_of_parameters_run_once_and_a_watched_layer_has_a_gradient() -> None:
    recomputed, stored = pair()
    x, y = batch()
    calls: list[int] = []
    for parameter in recomputed.parameters():
        parameter.register_hook(lambda gradient: (calls.append(1), 3 * gradient)[1])
    expected = {name: gradient if name == "x" else 3 * gradient for name, gradient in gradients(stored, x, y).items()}
    assert_equal(gradients(recomputed, x, y), expected)
    assert len(calls) == len(list(recomputed.parameters()))
    pairing = lp.objectives.FeaturePairing(lp.attacks.PGD(lp.Linf(0.1), step_size=0.1, steps=1), layers=("stages.0.blocks.1.g",))
    penalties = []
    for model in pair():
        terms = pairing(model, x, y, generator=torch.Generator().manual_seed(0)).terms
        penalty = terms["pairing_stages.0.blocks.1.g"]
        penalties.append(torch.autograd.grad(penalty, model.stem.conv.weight)[0])
    torch.testing.assert_close(*penalties)
    assert penalties[0].abs().sum() > 0


def stored_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes of activations that a forward keeps for the backward pass, each storage counted once."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(x)
    kept = {place: tensor for place, tensor in kept.items() if place not in own}
    assert logits.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_stored_activations_do_not_grow_with_depth() -> None:
    x = torch.rand(4, 3, 16, 16)

    def growth(reversible: bool) -> float:
        shallow, deep = (RevNet((n, n), (16, 16, 32), reversible=reversible) for n in (2, 8))
        return stored_bytes(deep, x) / stored_bytes(shallow, x)

    assert growth(reversible=True) < 1.01
    assert growth(reversible=False) > 3


def test_data_parallel_hooks_see_every_gradient(alone: None) -> None:
    model, _ = pair()
    x, y = batch()
    expected = {name: 2 * gradient for name, gradient in gradients(model, x, y).items() if name != "x"}
    model.zero_grad()
    parallel = DistributedDataParallel(model)

    def doubled(state, bucket):
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(2 * bucket.buffer())
        return future

    parallel.register_comm_hook(None, doubled)
    for _ in range(2):  # the second forward raises where the reducer missed a gradient
        model.zero_grad()
        F.cross_entropy(parallel(x), y).backward()
    assert_equal({name: parameter.grad for name, parameter in model.named_parameters()}, expected)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of this process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("change", [copy.deepcopy, lambda chain: chain.to(memory_format=torch.channels_last)])
def test_copies_and_memory_formats_change_no_number(change: Callable[[ReversibleChain], ReversibleChain]) -> None:
    model, stored = pair()
    x, y = batch()
    assert_equal(gradients(change(model), x, y), gradients(stored, x, y))
