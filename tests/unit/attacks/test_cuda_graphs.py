"""A network's passes, replayed: on a GPU as CUDA does it, elsewhere by an emulation that writes anew all that a replay would."""

from __future__ import annotations

import copy
import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from devices import GPU, devices
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

import logitpair as lp
from logitpair.attacks import cuda_graphs
from logitpair.attacks.base import QueryCounter
from logitpair.attacks.cuda_graphs import ENOUGH, KEPT, CUDAGraphs, Passes, agree, random_states
from logitpair.attacks.engine import plain_backward
from logitpair.models.inference import frozen_eval

BALL = lp.Linf(0.1)


class Emulated:
    """Graphs: one memory for the result and for what the backward pass will read, written anew by every replay."""

    def __init__(self, _device: torch.device) -> None:
        pass

    def warm_up(self, function: Callable[[], Tensor]) -> None:
        function()

    def capture(self, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        def run() -> tuple[Tensor, list[Tensor]]:
            saved: list[Tensor] = []

            def keep(tensor: Tensor) -> Tensor:
                saved.append(tensor)
                return tensor

            with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
                return function(), saved

        result, memory = run()

        def replay() -> None:
            again, values = run()
            with torch.no_grad():
                for held, value in zip([result, *memory], [again, *values], strict=True):
                    held.data.copy_(value)

        return result, replay


class Forgetful(Emulated):
    """Graphs of nothing."""

    def capture(self, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        return function(), lambda: None


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Without a GPU capture is emulated, every network is worth it, and images of the CPU are replayable."""
    if "device" in request.fixturenames and request.getfixturevalue("device") == "cpu":
        monkeypatch.setattr(cuda_graphs, "Recorder", Emulated)
        monkeypatch.setattr(cuda_graphs, "is_worthwhile", lambda _model, _x: True)
        mode = torch._C._len_torch_function_stack  # pyright: ignore
        monkeypatch.setattr(cuda_graphs, "replayable", lambda x: bool(len(x)) and not mode() and plain_backward())


class Network(nn.Module):
    """Small, with a buffer, a temperature that is no tensor, and a count of the times that Python runs it."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).to(device)
        self.temperature, self.ran = 1.0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.ran += 1
        return self.body(x) / self.temperature


def network(device: str) -> Network:
    torch.manual_seed(0)
    return Network(device)


def images(device: str, number: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(number, 1, 8, 8, generator=torch.Generator().manual_seed(seed)).to(device)


def asked(model: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of a weighted sum of them."""
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    (gradient,) = torch.autograd.grad((logits * torch.arange(logits.shape[1], device=x.device)).sum(), leaf)
    return logits.detach(), gradient


def warmed(model: nn.Module, device: str, number: int = 3) -> None:
    """Passes after which the shape is captured."""
    graphs = CUDAGraphs(model)
    for seed in range(ENOUGH + 1):
        asked(graphs, images(device, number, seed))


def assert_same(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@devices
def test_after_enough_passes_they_are_replayed_and_python_runs_the_network_no_more(device: str) -> None:
    model = network(device)
    with frozen_eval(model):
        graphs = CUDAGraphs(model)
        for seed in range(ENOUGH):
            asked(graphs, images(device, seed=seed))
        assert model.ran == ENOUGH
        warmed(model, device)
        graphs = CUDAGraphs(model)
        asked(graphs, images(device))
        ran = model.ran
        found = [asked(graphs, images(device, seed=seed)) for seed in range(5)]
        if device == "cuda":  # the emulation runs it
            assert model.ran == ran
        for seed, pair in enumerate(found):
            assert_same(pair, asked(model, images(device, seed=seed)))
        assert len(cuda_graphs.networks[model].passes) == 1


@devices
def test_a_gradient_is_of_its_own_forward_pass_also_after_another(device: str) -> None:
    model = network(device)
    with frozen_eval(model):
        warmed(model, device)
        graphs = CUDAGraphs(model)
        first, second = (images(device, seed=seed).requires_grad_() for seed in (20, 21))
        logits = graphs(first), graphs(second)
        for x, values in zip((first, second, first), (*logits, logits[0]), strict=True):
            (gradient,) = torch.autograd.grad(values[:, 1].sum(), x, retain_graph=True)
            assert_same((values.detach(), gradient), (model(x).detach(), torch.autograd.grad(model(x)[:, 1].sum(), x)[0]))


@devices
def test_several_gradients_of_one_forward_pass(device: str) -> None:
    model = network(device)
    with frozen_eval(model):
        warmed(model, device)
        x = images(device, seed=30).requires_grad_()
        logits, own = CUDAGraphs(model)(x), model(x)
        for label in (4, 0, 2):
            found = [torch.autograd.grad(values[:, label].sum(), x, retain_graph=True)[0] for values in (logits, own)]
            torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@devices
def test_weights_that_change_in_place_are_followed_and_replaced_ones_captured_anew(device: str) -> None:
    model = network(device)
    with frozen_eval(model):
        warmed(model, device)
        for parameter in model.parameters():
            parameter.data.mul_(1.5)
        model.get_submodule("body.1").get_buffer("running_mean").add_(0.3)
        assert_same(asked(CUDAGraphs(model), images(device)), asked(model, images(device)))
        (before,) = cuda_graphs.networks[model].passes.values()
        model.body[4] = nn.Linear(4 * 36, 5).to(device).requires_grad_(False)
        warmed(model, device)
        assert_same(asked(CUDAGraphs(model), images(device)), asked(model, images(device)))
        assert [passes is before for passes in cuda_graphs.networks[model].passes.values()] == [False]


class Switched(Network):
    """Whose last class is masked by a huge number, and which may take another's gradient for its own."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.straight_through = False

    def forward(self, x: Tensor) -> Tensor:
        if self.straight_through:
            x = 2 * x - x.detach()  # the same values, twice the gradient
        masked = torch.zeros(5, device=x.device)
        masked[4] = -1e9
        return super().forward(x) + masked


def freeze(passes: Passes, twin: nn.Module) -> None:
    """As a real graph, which goes on with what Python had decided when it was captured."""

    def forward() -> None:
        passes.logits.copy_(twin(passes.images))

    def backward() -> None:
        with torch.enable_grad():
            leaf = passes.images.clone().requires_grad_()
            passes.gradient.copy_(torch.autograd.grad(twin(leaf), leaf, passes.upstream)[0])

    passes.forward, passes.backward = forward, backward


@devices
@pytest.mark.parametrize("change", [{"temperature": 0.9}, {"temperature": 10.0}, {"straight_through": True}])
@pytest.mark.parametrize("kind", [Network, Switched])
def test_a_network_that_has_changed_in_python_is_not_replayed_again(
    kind: type[Network], change: dict[str, Any], device: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    model = kind(device)
    with frozen_eval(model):
        warmed(model, device)
        if device == "cpu":
            freeze(next(iter(cuda_graphs.networks[model].passes.values())), copy.deepcopy(model))
        assert_same(asked(CUDAGraphs(model), images(device)), asked(model, images(device)))
        for name, value in change.items():
            setattr(model, name, value)
        changes = hasattr(model, next(iter(change))) and (kind is Switched or "temperature" in change)
        with caplog.at_level("DEBUG", "logitpair"):
            graphs = CUDAGraphs(model)
            for _ in range(ENOUGH + 2):
                assert_same(asked(graphs, images(device, seed=9)), asked(model, images(device, seed=9)))
        assert cuda_graphs.networks[model].refused == changes
        assert bool(cuda_graphs.networks[model].passes) != changes
        assert ("no longer those that were captured" in caplog.text) == changes


@devices
def test_a_gradients_gradient_and_many_gradients_at_once_are_the_networks(device: str) -> None:
    model = network(device)
    model.body[2] = nn.Softplus()  # a second derivative that is not 0
    with frozen_eval(model):
        warmed(model, device)
        (passes,) = cuda_graphs.networks[model].passes.values()
        graphs, number = CUDAGraphs(model), passes.number
        found = []
        for function in (graphs, model):
            x = images(device, seed=3).requires_grad_()
            logits = function(x)
            (first,) = torch.autograd.grad(logits.square().sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), x)
            each = torch.eye(5, device=device)[:, None].expand(5, 3, 5)
            (many,) = torch.autograd.grad(function(x), x, each, is_grads_batched=True)
            found.append((first.detach(), second, many))
        assert passes.number > number
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
            assert one.abs().max() > 0


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(1)])
def test_drawing_random_numbers_is_seen(draw: Callable[[], object]) -> None:
    before = random_states(torch.device("cpu"))
    assert random_states(torch.device("cpu")) == before
    draw()
    assert random_states(torch.device("cpu")) != before


@pytest.mark.parametrize("part", ["logits", "gradient"])
def test_passes_agree_to_rounding(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "Recorder", Emulated)
    model = network("cpu").eval().requires_grad_(False)
    passes, run = Passes.of(model, images("cpu")), {"logits": "forward", "gradient": "backward"}[part]
    replay = getattr(passes, run)
    for off, expected in ((1e-3, True), (1.0, False)):  # of a result, by what TF32 may round it

        def perturbed(off: float = off) -> None:
            replay()
            values = getattr(passes, part)
            values.view(-1)[values.abs().argmax()] *= 1 + off

        setattr(passes, run, perturbed)
        assert agree(model, passes, images("cpu", seed=4)) == expected


def test_a_graph_of_nothing_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "Recorder", Forgetful)
    monkeypatch.setattr(cuda_graphs, "is_worthwhile", lambda _model, _x: True)
    monkeypatch.setattr(cuda_graphs, "replayable", lambda _x: True)
    model = network("cpu")
    with frozen_eval(model):
        warmed(model, "cpu")
        assert cuda_graphs.networks[model].refused


@devices
def test_at_most_so_many_shapes_are_held(device: str) -> None:
    model = network(device)
    with frozen_eval(model):
        for number in range(1, KEPT + 3):
            warmed(model, device, number)
        assert [key[0][0] for key in cuda_graphs.networks[model].passes] == list(range(3, KEPT + 3))
        assert_same(asked(CUDAGraphs(model), images(device, 3)), asked(model, images(device, 3)))
        warmed(model, device, 1)  # which was dropped
        assert [key[0][0] for key in cuda_graphs.networks[model].passes] == [*range(4, KEPT + 3), 1]


@devices
def test_a_shape_that_is_not_worth_it_is_judged_once(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    monkeypatch.setattr(cuda_graphs, "is_worthwhile", lambda _model, x: judged.append(len(x)))
    model = network(device)
    with frozen_eval(model):
        for _ in range(3):
            warmed(model, device)
        warmed(model, device, 4)
    assert judged == [3, 4]
    assert not cuda_graphs.networks[model].passes


class Watched(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@devices
def test_hooks_modes_transforms_and_trained_weights_leave_it_to_the_network(device: str) -> None:
    model = network(device)
    with frozen_eval(model):
        warmed(model, device)
        passes = next(iter(cuda_graphs.networks[model].passes.values()))
        number, x = passes.number, images(device)
        handle = model.body[0].register_forward_hook(lambda _module, _inputs, output: 2 * output)
        assert_same(asked(CUDAGraphs(model), x), asked(model, x))
        handle.remove()
        graphs = CUDAGraphs(model)
        with Watched():
            graphs(x.clone().requires_grad_())
        with saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
            graphs(x.clone().requires_grad_())
        torch.func.grad(lambda image: graphs(image).sum())(x)
        model.requires_grad_(True)
        CUDAGraphs(model)(x.clone().requires_grad_())
        assert passes.number == number
        model.requires_grad_(False)
        asked(CUDAGraphs(model), x)
        assert passes.number > number


@devices
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_copies_on_other_devices_and_compiled_networks_are_left_as_they_are(wrap: Any, device: str) -> None:
    model = network(device).eval().requires_grad_(False)
    assert CUDAGraphs(model).state
    assert CUDAGraphs(nn.Sequential(wrap(model))).state is None


@devices
def test_so_is_a_network_beside_other_processes_whose_threads_ask_the_gpu_too(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "has_joined", lambda: True)
    assert CUDAGraphs(network(device).eval().requires_grad_(False)).state is None


@devices
def test_a_network_without_a_gradient_or_that_cannot_be_captured_answers_itself(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Steps(Network):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.one_hot(super().forward(x).argmax(1), 5).float() * x.sum().detach()

    model = Steps(device)
    with frozen_eval(model):
        graphs = CUDAGraphs(model)
        for seed in range(2 * ENOUGH):
            x = images(device, seed=seed).requires_grad_()
            assert torch.equal(graphs(x), model(x))
    model = network(device)

    def fails(*_: Any) -> Any:
        raise RuntimeError("cannot be captured")

    monkeypatch.setattr(cuda_graphs.Recorder, "capture", fails)
    with frozen_eval(model):
        warmed(model, device)
        assert cuda_graphs.networks[model].refused
        assert_same(asked(CUDAGraphs(model), images(device)), asked(model, images(device)))


@devices
def test_a_network_that_is_forgotten_takes_its_graphs_along(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == "cpu":  # the emulation holds what it runs
        monkeypatch.setattr(Emulated, "capture", Forgetful.capture)
        monkeypatch.setattr(cuda_graphs, "agree", lambda *_: True)
    model = network(device)
    with frozen_eval(model):
        warmed(model, device)
    gone, passes = weakref.ref(model), weakref.ref(next(iter(cuda_graphs.networks[model].passes.values())))
    del model
    gc.collect()
    assert gone() is None
    assert passes() is None


@devices
def test_attacks_find_what_they_find_by_the_network_alone(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = images(device, 6), torch.arange(6, device=device) % 5
    attacks = {
        "pgd": lp.attacks.PGD(BALL, step_size=0.02, steps=8, random_start=False),
        "exhaustive": lp.attacks.PGD(BALL, step_size=0.02, steps=8, random_start=False, early_stop=False),
        "apgd": lp.attacks.APGD(BALL, steps=8),
        "diversified": lp.attacks.DiversifiedPGD(BALL, steps=8),
    }
    found: dict[bool, dict[str, Tensor]] = {}
    for eager in (True, False):
        if eager:
            kept = CUDAGraphs.__call__
            monkeypatch.setattr(CUDAGraphs, "__call__", lambda self, x: self.model(x))
        else:
            monkeypatch.setattr(CUDAGraphs, "__call__", kept)
            monkeypatch.setattr(QueryCounter, "forward", _through_graphs)
        model = network(device)
        for _ in range(3):
            found[eager] = {name: attack(model, x, y, generator=torch.Generator().manual_seed(1)) for name, attack in attacks.items()}
        if not eager:
            assert cuda_graphs.networks[model].passes
    for name in attacks:
        torch.testing.assert_close(found[True][name], found[False][name], rtol=0, atol=1e-5)


def _through_graphs(self: QueryCounter, x: Tensor) -> Tensor:
    """As on a GPU."""
    if not x.requires_grad:
        return self.model(x)
    self.gradients += len(x)
    return self.graphs(x)


if GPU:

    @pytest.mark.parametrize("kind", ["waits", "draws", "python", "large"])
    def test_what_no_graph_repeats_or_needs(kind: str) -> None:
        class Odd(Network):
            def forward(self, x: Tensor) -> Tensor:
                if kind == "waits" and float(x.sum()) < 0:
                    return self.body(x) * 0
                if kind == "draws":
                    x = x + 0.1 * torch.rand_like(x)
                if kind == "python":
                    x = x * random.random()  # noqa: S311
                if kind == "large":
                    wide = x.flatten(1).repeat(1, 60)
                    for _ in range(3):
                        wide = wide @ (wide.t() @ wide) / 1e7
                    x = x + 1e-9 * wide[:, :64].view_as(x)
                return self.body(x)

        torch.manual_seed(0)
        model = Odd("cuda").eval().requires_grad_(False)
        number = 4096 if kind == "large" else 3
        graphs = CUDAGraphs(model)
        for _ in range(ENOUGH + 3):
            asked(graphs, images("cuda", number))
        assert not cuda_graphs.networks[model].passes
        assert cuda_graphs.networks[model].refused == (kind != "large")
        assert torch.rand(3, device="cuda").isfinite().all()  # and CUDA goes on
        assert torch.cuda.get_sync_debug_mode() == 0

    def test_passes_in_16_bits_follow_the_weights() -> None:
        model = network("cuda")
        with frozen_eval(model), torch.autocast("cuda", dtype=torch.bfloat16):
            warmed(model, "cuda")
            for parameter in model.parameters():
                parameter.data.mul_(1.5)
            ran = model.ran
            graphs = CUDAGraphs(model)
            asked(graphs, images("cuda"))
            found = asked(graphs, images("cuda", seed=1))
            assert model.ran == ran + 1  # to compare
            for one, other in zip(found, asked(model, images("cuda", seed=1)), strict=True):
                torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


def test_passes_can_be_asked_for_directly() -> None:
    """Their parts, so that the emulation is held to what a graph does: nothing is written but by a replay."""
    model = network("cpu").eval().requires_grad_(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_graphs, "Recorder", Emulated)
        passes = Passes.of(model, images("cpu"))
    before = passes.logits.clone()
    passes.images.copy_(images("cpu", seed=5))
    assert torch.equal(passes.logits, before)
    passes.forward()
    assert torch.equal(passes.logits, model(images("cpu", seed=5)))
