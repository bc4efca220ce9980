"""``certify`` from end to end: closed forms, corners, attacks that break nothing certified, interruption, and what is refused."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bounded_networks import exact_margin, images, network, tiny
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import PGD
from logitpair.bounds.operations import Interval
from logitpair.certification.certify import BROKEN, UNDECIDED
from logitpair.certification.margins import ROUNDING
from logitpair.runtime.distributed import World
from logitpair.storage.ledger import MISCLASSIFIED
from logitpair.storage.results import CERTIFICATE_METHODS
from logitpair.threat import L2, Threat

Pair = tuple[Tensor, Tensor]
UNEQUAL = ("created", "wall_time_seconds", "hardware", "cache_key", "methods")


def certify(model: nn.Module, data: lp.data.Data, threat: Threat, **options: object) -> lp.Certificate:
    return lp.certify(model, data, threat=threat, **{"progress": False, "iterations": 5, "branches": 16, **options})


def linear(seed: int = 0, classes: int = 3, pixels: int = 12) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes)).double()


@pytest.fixture(scope="module")
def sample() -> Pair:
    test = lp.data.Digits().test()
    return test.images[:24].float() / 255, test.labels[:24]


@pytest.fixture(scope="module")
def certificate(trained: nn.Module, sample: Pair) -> lp.Certificate:
    return certify(trained, sample, lp.Linf(0.02), method="alpha-crown")


def hooked(module: nn.Module) -> nn.Module:
    """One whose hook changes nothing on most images."""
    module.register_forward_hook(lambda _, __, output: torch.where(output > 100, 0, output))
    return module


def steep(factor: float) -> nn.Module:
    """Logits that are finite, and inner values beyond float32 for a large factor."""
    model = linear().append(nn.ReLU()).append(nn.Linear(3, 3)).double()
    model[1].weight.data *= factor
    model[3].weight.data /= factor
    return model


def smallest_margin(model: nn.Module, threat: Threat, x: Tensor, y: Tensor) -> Tensor:
    """Of a linear network, in closed form: over the box in L-infinity, over the ball far from the walls in L2."""
    weight, bias = model[1].weight.detach(), model[1].bias.detach()
    least = []
    for k in range(len(weight)):
        gap = weight[y] - weight[k]
        pixels = x.flatten(1)
        if isinstance(threat, L2):
            away = -threat.eps * gap.norm(dim=1)
        else:
            ends = torch.where(gap > 0, (pixels - threat.eps).clamp(min=0), (pixels + threat.eps).clamp(max=1))
            away = (gap * (ends - pixels)).sum(1)
        margin = (gap * pixels).sum(1) + bias[y] - bias[k] + away
        least.append(torch.where(y == k, torch.inf, margin))
    return torch.stack(least).amin(0)


@pytest.mark.parametrize("method", CERTIFICATE_METHODS)
@pytest.mark.parametrize("threat", [lp.Linf(0.05), lp.Linf(0.3), L2(0.3)])
def test_a_linear_network_is_certified_where_its_margin_is(threat: Threat, method: str) -> None:
    model, x = linear(), images(60, shape=(1, 3, 4))
    x = 0.3 + 0.4 * x if isinstance(threat, L2) else x
    y = model(x).argmax(1)
    y[:5] = (y[:5] + 1) % 3
    margin = smallest_margin(model, threat, x, y)
    rounding = ROUNDING * (1 + model(x).abs().amax(1))
    found = certify(model, (x, y), threat, method=method)
    certified = found.ledger["certified_by"] >= 0
    np.testing.assert_array_equal(certified, (margin > rounding).numpy())
    assert 0 < certified.sum() < 55
    assert found.certified_accuracy == certified.mean() == found.results["certified"]["top1"]
    right = found.ledger["bound"] > -np.inf
    np.testing.assert_allclose(found.ledger["bound"][right], (margin - rounding).detach().numpy()[right], atol=1e-9)
    assert (found.ledger["certified_by"][:5] == MISCLASSIFIED).all()
    assert found.results["clean"]["correct"] == 55


@pytest.mark.parametrize("method", ["ibp", "crown", "beta-crown"])
@pytest.mark.parametrize(("share", "certified"), [(0.9, False), (1.1, True)])
def test_a_margin_must_exceed_what_rounding_does(method: str, share: float, certified: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).double()
    x, eps = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), 0.25
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.0], [2.0]]))
        model[1].bias.copy_(torch.tensor([0.0, 3.0]))  # logits 0 and 4, margin 4 - 2 eps
        model[1].bias[1] -= 3.5 - share * 1e-4 * 1.5
    logit = model(x).abs().max().item()
    assert logit == pytest.approx(0.5, abs=1e-3)
    found = certify(model, (x, torch.tensor([1])), lp.Linf(eps), method=method)
    assert bool(found.ledger["certified_by"][0] >= 0) == certified


def test_all_corners_of_the_box_of_what_is_certified_are_right() -> None:
    """A network of ReLUs on six pixels; the ball is so large that its box is cut at many walls."""
    torch.manual_seed(3)
    layers = [nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.LeakyReLU(0.1), nn.Linear(5, 3)]
    model, x = nn.Sequential(*layers).double(), images(40, shape=(1, 2, 3))
    for parameter in model.parameters():
        parameter.data.mul_(2)
    y, threat = model(x).argmax(1), lp.Linf(0.35)
    certified = certify(model, (x, y), threat, method="alpha-crown").ledger["certified_by"] >= 0
    box = Interval(*threat.box(x))
    right = torch.ones(40, dtype=torch.bool)
    for corner in itertools.product((0.0, 0.5, 1.0), repeat=6):
        share = torch.tensor(corner, dtype=torch.float64).view(1, 2, 3)
        right &= model(box.lower + share * box.width).argmax(1) == y
    assert certified.sum() > 3
    assert right[certified].all()
    assert not right.all()


def test_no_attack_from_a_hundred_starts_breaks_what_is_certified(trained: nn.Module, sample: Pair, certificate: lp.Certificate) -> None:
    x, y = sample
    certified = torch.from_numpy(certificate.ledger["certified_by"] >= 0)
    assert 5 < certified.sum() < 24
    for loss in (lp.losses.cross_entropy, lp.losses.misclassification_margin):
        attack = PGD(lp.Linf(0.02), step_size=0.008, steps=5, restarts=100, loss=loss)
        x_adv = attack(trained, x, y, generator=torch.Generator().manual_seed(0))
        assert (trained(x_adv).argmax(1) == y)[certified].all()
    strong = PGD(lp.Linf(0.3), step_size=0.05, steps=20)(trained, x, y)
    assert (trained(strong).argmax(1) != y)[certified].any(), "an attack that breaks nothing says nothing"


@pytest.mark.parametrize("threat", [lp.Linf(0.02), lp.Linf(0.05), L2(0.2)])
@pytest.mark.parametrize("kind", ["convolutions", "max_pools", "residual", "joined"])
def test_networks_of_every_kind(kind: str, threat: Threat) -> None:
    model, x = network(kind), images(8)
    y = model(x).argmax(1)
    found = {method: certify(model, (x, y), threat, method=method) for method in CERTIFICATE_METHODS}
    attack = PGD(threat, step_size=threat.eps / 4, steps=10, restarts=5)
    broken = model(attack(model, x, y, generator=torch.Generator().manual_seed(0))).argmax(1) != y
    before = np.zeros(8, dtype=bool)
    for number, (method, result) in enumerate(found.items()):
        by = result.ledger["certified_by"]
        certified = by >= 0
        assert (certified >= before).all(), f"{method} certifies less than a looser one"
        assert not (certified & broken.numpy()).any()
        assert [entry["name"] for entry in result.results["methods"]] == list(CERTIFICATE_METHODS[: number + 1])
        assert [entry["certified"] for entry in result.results["methods"]] == [(by == i).sum() for i in range(number + 1)]
        before = certified


def test_the_bound_is_the_largest_that_any_method_gave() -> None:
    model, x = network("fully_connected", 2), images(20)
    y = model(x).argmax(1)
    found = [certify(model, (x, y), lp.Linf(0.05), method=method).ledger for method in CERTIFICATE_METHODS]
    for looser, tighter in itertools.pairwise(found):
        undecided = (looser["certified_by"] == UNDECIDED) & (tighter["certified_by"] != BROKEN)
        assert (tighter["bound"][undecided] >= looser["bound"][undecided]).all()
        np.testing.assert_array_equal(tighter["bound"][~undecided], looser["bound"][~undecided])


@pytest.mark.parametrize("method", CERTIFICATE_METHODS)
def test_an_image_that_is_in_the_ball_but_for_rounding_counts(method: str) -> None:
    """On so steep a network that float32's rounding of the radius decides."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
    for parameter, values in zip(model.parameters(), ([[1e7], [1.0]], [-6e6, 0.0], [[-1.0, -0.1], [0.0, 0.0]], [0.16, 0.0]), strict=True):
        parameter.data.copy_(torch.tensor(values))
    x, y, threat = torch.full((3, 1, 1, 1), 0.5), torch.zeros(3, dtype=torch.long), lp.Linf(0.1)
    beyond = torch.full_like(x, 0.6 + 1e-7)
    assert threat.contains(beyond, x).all()
    assert (model(x).argmax(1) == 0).all()
    assert (model(beyond).argmax(1) == 1).all()
    assert certify(model, (x, y), threat, method=method).certified_accuracy == 0


def test_a_network_of_data_parallel_is_bounded_and_a_scripted_one_refused() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)), images(6, shape=(1, 3, 4)).float()
    data = x, model(x).argmax(1)
    own, parallel = (certify(network, data, lp.Linf(0.01)) for network in (model, nn.DataParallel(model)))
    assert own.certified_accuracy == parallel.certified_accuracy > 0
    for scripted in (torch.jit.script(model), torch.jit.trace(model, x), nn.Sequential(torch.jit.script(model))):
        with pytest.raises(InputError, match="accepted: the nn.Module that it was made of"):
            certify(scripted, data, lp.Linf(0.01))


def test_what_else_cannot_be_copied_is_named_whole() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), images(3, shape=(1, 3, 4)).float()
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"^model: cannot be copied: cannot pickle '_thread.lock' object$"):
        certify(model, (x, model(x).argmax(1)), lp.Linf(0.001))


def test_a_pruned_network_is_refused_in_one_line_until_its_masks_are_removed() -> None:
    layer = prune.l1_unstructured(nn.Linear(12, 3), "weight", 0.5)
    model, x = nn.Sequential(nn.Flatten(), layer), images(3, shape=(1, 3, 4)).float()
    data = x, model(x).argmax(1)
    with pytest.raises(InputError, match=r"model: cannot be copied: .*torch\.nn\.utils\.prune\.remove"):
        certify(model, data, lp.Linf(0.001))
    prune.remove(layer, "weight")
    assert certify(model, data, lp.Linf(0.001)).certified_accuracy > 0


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_network_that_cannot_be_copied_is_refused_in_one_line() -> None:
    layer = nn.utils.weight_norm(nn.Linear(12, 3))
    model = nn.Sequential(nn.Flatten(), layer)
    x = images(3, shape=(1, 3, 4)).float()
    model(x)
    with pytest.raises(InputError, match=r"model: cannot be copied: .*use torch\.nn\.utils\.parametrizations"):
        certify(model, (x, torch.zeros(3, dtype=torch.long)), lp.Linf(0.1))


def test_branches_decide_what_slopes_do_not_and_are_recorded() -> None:
    model, x = tiny(2), images(40, shape=(1, 2, 3))
    y, threat = model(x).argmax(1), lp.Linf(0.5)
    alpha = certify(model, (x, y), threat, method="alpha-crown")
    beta = certify(model, (x, y), threat, method="beta-crown", branches=200)
    assert beta.certified_accuracy > alpha.certified_accuracy
    assert beta.certified_accuracy + beta.record.broken / 40 == 1, "nothing is left open"
    assert (alpha.record.branches, beta.record.branches) == (None, 200)
    assert beta.rows()[-2][0] == "certified by beta-crown"
    certified = beta.ledger["certified_by"] >= 0
    optimum = [exact_margin(model, threat.eps, one, int(label)) for one, label in zip(x, y, strict=True)]
    np.testing.assert_array_equal(certified, np.array(optimum) > 0)


def test_what_each_image_is_counted_as(trained: nn.Module, sample: Pair, certificate: lp.Certificate) -> None:
    results, by = certificate.results, certificate.ledger["certified_by"]
    assert set(by) <= {MISCLASSIFIED, BROKEN, UNDECIDED, 0, 1, 2, 3}
    assert results["broken"] == (by == BROKEN).sum()
    assert results["clean"]["correct"] == (trained(sample[0]).argmax(1) == sample[1]).sum()
    assert results["certified"]["correct"] == sum(entry["certified"] for entry in results["methods"])
    assert (results["examples"], results["classes"], results["precision"]) == (24, 10, "float64")
    assert results["threat"] == {"class_path": "logitpair.threat.Linf", "init_args": {"eps": 0.02}}
    np.testing.assert_array_equal(certificate.ledger["bound"] > 0, by >= 0)
    rows = certificate.rows()
    assert rows[0][3] == f"{results['clean']['correct']} / 24"
    assert rows[-1][3] == f"{results['certified']['correct']} / 24"
    assert "certified by alpha-crown" in certificate.table()


def test_a_short_attack_saves_the_expensive_methods() -> None:
    model, x = linear(), images(30, shape=(1, 3, 4))
    y = model(x).argmax(1)
    cheap, thorough = (certify(model, (x, y), lp.Linf(0.2), method=method) for method in ("ibp", "crown-ibp"))
    assert cheap.results["broken"] == 0
    assert thorough.results["broken"] == (thorough.ledger["certified_by"] == BROKEN).sum() > 0
    assert (cheap.ledger["certified_by"][thorough.ledger["certified_by"] == BROKEN] == UNDECIDED).all()


def same(a: lp.Certificate, b: lp.Certificate) -> None:
    assert {k: v for k, v in a.results.items() if k not in UNEQUAL} == {k: v for k, v in b.results.items() if k not in UNEQUAL}
    assert a.ledger.keys() == b.ledger.keys()
    for name in a.ledger:
        np.testing.assert_allclose(a.ledger[name], b.ledger[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_results_do_not_depend_on_the_batch_size(trained: nn.Module, sample: Pair, certificate: lp.Certificate, batch_size: int) -> None:
    same(certificate, certify(trained, sample, lp.Linf(0.02), method="alpha-crown", batch_size=batch_size))


def test_all_kinds_of_data_give_the_same(trained: nn.Module, sample: Pair) -> None:
    expected = certify(trained, sample, lp.Linf(0.02), method="crown-ibp").ledger
    dataset = TensorDataset(*sample)
    for data in (dataset, DataLoader(dataset, batch_size=11)):
        found = certify(trained, data, lp.Linf(0.02), method="crown-ibp").ledger
        np.testing.assert_array_equal(found["certified_by"], expected["certified_by"])


def test_the_model_is_left_as_it_was() -> None:
    model = network("convolutions").float().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = images(6).float()
    y = network("convolutions").float()(x).argmax(1)
    found = certify(model, (x, y), lp.Linf(0.01))
    assert found.results["clean"]["correct"] == 6, "in eval mode"
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) and value.dtype == before[name].dtype for name, value in model.state_dict().items())


def test_an_interrupted_certificate_goes_on_to_the_same(
    trained: nn.Module, sample: Pair, certificate: lp.Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logitpair.certification import certify as module

    honest, calls = module.margin_bounds, []

    def interrupted(*arguments: object) -> Tensor:
        calls.append(arguments)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return honest(*arguments)

    monkeypatch.setattr(module, "margin_bounds", interrupted)
    options = {"method": "alpha-crown", "folder": tmp_path, "batch_size": 6}
    with pytest.raises(KeyboardInterrupt):
        certify(trained, sample, lp.Linf(0.02), **options)
    parts = len(list(tmp_path.glob("parts/*/*.npz")))
    assert 0 < parts < 4
    before = len(calls)
    resumed = certify(trained, sample, lp.Linf(0.02), **options)
    assert len(calls) - before <= 4 * (4 - parts), "it began anew"
    same(certificate, resumed)
    assert resumed.results["cache_key"]
    resumed.save(tmp_path)
    assert not (tmp_path / "parts").exists()
    same(resumed, lp.Certificate.load(tmp_path))


@pytest.mark.parametrize("change", ["threat", "method", "weights", "iterations", "branches", "seed", "images", "version"])
def test_parts_of_another_certificate_are_not_taken(sample: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    model, x = linear(pixels=64), sample[0].double()
    y = model(x).argmax(1).clamp(max=2)
    settings = {"threat": lp.Linf(0.02), "method": "crown-ibp", "folder": tmp_path}
    keys = {certify(model, (x, y), **settings).results["cache_key"]}
    keys.add(certify(model, (x, y), **settings, batch_size=5).results["cache_key"])
    assert len(keys) == 1
    changes = {"threat": lp.Linf(0.03), "method": "crown", "iterations": 9, "branches": 9, "seed": 4}
    if change == "weights":
        model[1].weight.data += 1
    elif change == "images":
        x = 1 - x
    elif change == "version":
        monkeypatch.setattr("logitpair.certification.certify.version", lambda _: "0.0.1")
    else:
        settings[change] = changes[change]
    assert certify(model, (x, y), **settings).results["cache_key"] not in keys


def test_two_processes_share_the_work(trained: nn.Module, sample: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logitpair.runtime.distributed.dist.barrier", lambda: None)  # the other process never comes
    options = {"method": "crown-ibp", "batch_size": 6, "folder": tmp_path}
    with pytest.raises(InputError, match="are missing"):
        certify(trained, sample, lp.Linf(0.02), world=World(rank=1, size=2, device=torch.device("cpu")), **options)
    assert len(list(tmp_path.glob("parts/*/*.npz"))) == 2, "half of the parts"
    same(certify(trained, sample, lp.Linf(0.02), **options), certify(trained, sample, lp.Linf(0.02), method="crown-ibp"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "milp"}, "method: no method 'milp'; accepted: ibp, crown-ibp, crown, alpha-crown, beta-crown"),
        ({"threat": lp.Linf(0.0)}, "threat: eps must be above 0"),
        ({"threat": 0.1}, "threat must be a threat model"),
        ({"iterations": 0}, "iterations must be a whole number of at least 1"),
        ({"branches": 1}, "branches must be a whole number of at least 2"),
        ({"branches": 10**20}, "branches must be at most 100,000"),
        ({"model": nn.Sequential(nn.Flatten(), hooked(nn.Linear(12, 3)))}, "since '1' has a forward hook"),
        ({"model": hooked(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))}, "since it has a forward hook"),
        ({"model": steep(math.nan).float(), "method": "ibp"}, "logits are not all finite in float64"),
        ({"model": steep(1e40), "data": (images(3, shape=(1, 3, 4)), torch.zeros(3).long()), "method": "alpha-crown"}, "in float32"),
        (
            {
                "model": nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).bfloat16(),
                "data": (images(3, shape=(1, 3, 4)).bfloat16(), torch.tensor([0, 1, 2])),
            },
            "x: images must be float32 or float64",
        ),
        ({"iterations": 1.5}, "iterations must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"workers": -1}, "workers must be a whole number of at least 0"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Tanh())}, "model: no bounds are known of Tanh"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(12, 2))}, r"0\.\.1"),
        ({"model": 5}, "model must be an nn.Module"),
        ({"data": (torch.zeros(0, 1, 3, 4), torch.zeros(0, dtype=torch.int64))}, "data: holds no examples"),
        ({"world": World(rank=0, size=2, device=torch.device("cpu"))}, "folder"),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_bad_input_is_refused(options: dict, said: str) -> None:
    data = images(3, shape=(1, 3, 4)).float(), torch.tensor([0, 1, 2])
    settings = {"model": linear().float(), "data": data, "threat": lp.Linf(0.1), "progress": False} | options
    with pytest.raises(InputError, match=said) as caught:
        lp.certify(settings.pop("model"), settings.pop("data"), **settings)
    assert len(str(caught.value).splitlines()) == 1


class Constants(nn.Module):
    """A layer whose weights and the mean taken off its input are plain tensors, or buffers."""

    def __init__(self, *, buffers: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name, value in {"mean": torch.full((12,), 0.3), "weight": torch.linspace(-1, 1, 60).view(5, 12).sin()}.items():
            self.register_buffer(name, value) if buffers else setattr(self, name, value)
        self.logits = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(F.relu(F.linear(x.flatten(1) - self.mean, self.weight)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_that_are_no_parameters_are_in_the_dtype_of_the_bounds(dtype: torch.dtype) -> None:
    plain, registered = (Constants(buffers=buffers).to(dtype).eval() for buffers in (False, True))
    plain.mean, plain.weight = plain.mean.to(dtype), plain.weight.to(dtype).requires_grad_()
    x = images(20, shape=(1, 3, 4)).to(dtype)
    y = plain(x).argmax(1)
    found, expected = (certify(model, (x, y), lp.Linf(0.02), method="beta-crown") for model in (plain, registered))
    assert found.ledger["bound"].tolist() == expected.ledger["bound"].tolist()
    assert expected.certified_accuracy > 0.5
    assert (plain.mean.dtype, plain.weight.dtype, plain.weight.requires_grad) == (dtype, dtype, True), "of the network itself they stay"


class InAList(nn.Module):
    """Holds a tensor where no copy in another dtype finds it."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.constants, self.logits = [torch.full((12,), 0.3, dtype=dtype)], nn.Linear(12, 3, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(F.relu(F.linear(x.flatten(1), self.constants[0].diag())))


@pytest.mark.parametrize(("dtype", "method", "copied"), [(torch.float64, "alpha-crown", "float32"), (torch.float32, "ibp", "float64")])
def test_a_tensor_that_keeps_its_dtype_is_named(dtype: torch.dtype, method: str, copied: str) -> None:
    x = images(3, shape=(1, 3, 4)).to(dtype)
    with pytest.raises(InputError, match=rf"^model: its copy in {copied}, .* does not run \(.*\); accepted: floating-point tensors that"):
        certify(InAList(dtype), (x, torch.zeros(3).long()), lp.Linf(0.02), method=method)


@pytest.mark.parametrize("size", [1e-6, 1e-3])
def test_logits_too_small_for_any_certificate_are_warned_of(size: float) -> None:
    model, x = linear(), images(20, shape=(1, 3, 4))
    for parameter in model.parameters():
        parameter.data *= size
    settings = {"threat": lp.Linf(1e-6), "method": "ibp"}
    with pytest.warns(UserWarning, match="below 0.00005 in size") if size < 1e-4 else contextlib.nullcontext():
        assert (certify(model, (x, model(x).argmax(1)), **settings).certified_accuracy == 0) == (size < 1e-4)


class Spectrum(nn.Module):
    """A linear layer whose weights are kept as complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("spectrum", torch.fft.fft(torch.randn(3, 12, dtype=torch.float64)))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), torch.fft.ifft(self.spectrum).real)


def test_complex_numbers_stay_what_they_are() -> None:
    model, x = Spectrum(), images(50, shape=(1, 3, 4))
    y, weights = model(x).argmax(1), torch.fft.ifft(model.spectrum).real
    found = certify(model, (x, y), lp.Linf(0.02), method="ibp")
    lower, upper = (x - 0.02).clamp(min=0).flatten(1), (x + 0.02).clamp(max=1).flatten(1)
    rows = weights[y].unsqueeze(1) - weights
    exact = (rows.clamp(min=0) * lower.unsqueeze(1) + rows.clamp(max=0) * upper.unsqueeze(1)).sum(2)
    robust = (exact.masked_fill(F.one_hot(y, 3).bool(), torch.inf) > 1e-3).all(1)
    assert (torch.as_tensor(found.ledger["certified_by"]) >= 0)[robust].all()
    assert not (torch.as_tensor(found.ledger["certified_by"]) >= 0)[(exact.amin(1) < 0)].any()


class Remembering(nn.Module):
    """Writes into one name of a tensor and reads the other, which a copy has apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.factor = torch.zeros(12)
        self.half, self.linear = self.factor[:6], nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.half.fill_(5)
        return self.linear(x.flatten(1) * self.factor)


def test_a_copy_with_other_logits_is_refused() -> None:
    x = images(20, shape=(1, 3, 4)).float()
    with pytest.raises(InputError, match=r"its logits are up to [\d.]+ away from those of a copy in float64"):
        certify(Remembering(), (x, torch.zeros(20).long()), lp.Linf(0.02), method="ibp")


def test_a_hook_of_all_modules_is_refused(sample: Pair, trained: nn.Module) -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda _, __, output: torch.where(output > 100, 0, output))
    try:
        with pytest.raises(InputError, match="a forward hook is registered for all modules"):
            certify(trained, sample, lp.Linf(0.02))
    finally:
        handle.remove()


def test_a_loader_has_no_order_to_resume_by(sample: Pair, tmp_path: Path) -> None:
    loader = DataLoader(TensorDataset(*sample), batch_size=8)
    with pytest.raises(InputError, match="data: a DataLoader"):
        certify(linear(pixels=64, classes=10).float(), loader, lp.Linf(0.1), folder=tmp_path)


@pytest.fixture
def saved(certificate: lp.Certificate, tmp_path: Path) -> Callable[[], lp.Certificate]:
    certificate.save(tmp_path)
    return lambda: lp.Certificate.load(tmp_path)


def test_a_saved_certificate_is_the_same(certificate: lp.Certificate, saved: Callable[[], lp.Certificate]) -> None:
    loaded = saved()
    assert loaded.record == certificate.record
    assert loaded.certified_accuracy == certificate.certified_accuracy
    for name, column in certificate.ledger.items():
        np.testing.assert_array_equal(loaded.ledger[name], column)
    json.dumps(loaded.results)


def test_images_that_the_network_does_not_take_are_named() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 2 * 2, 3))
    with pytest.raises(InputError, match=r"model cannot take images of \[3, 4, 4\]"):
        certify(model, (torch.rand(2, 3, 4, 4), torch.tensor([0, 1])), lp.Linf(0.1))
