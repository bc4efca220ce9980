"""The audit as an object and a process: what it counts, what nothing may depend on, interruption, two classes, bad input."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from audited import REFERENCE, THREAT
from handmade_sweeps import accuracy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import Attack
from logitpair.auditing.convergence import outlook
from logitpair.auditing.search import AuditContext
from logitpair.auditing.strategies import strategies_for
from logitpair.runtime.distributed import World

Pair = tuple[Tensor, Tensor]
BUDGET = 30


@pytest.fixture(scope="module")
def sample() -> Pair:
    test = lp.data.Digits().test()
    return test.images[:30].double() / 255, test.labels[:30]


@pytest.fixture(scope="module")
def model(trained: nn.Module) -> nn.Module:
    """The trained network in float64, so that batch sizes change no sign of a gradient."""
    network = lp.models.SmallConvNet(width=4)
    network.load_state_dict(trained.state_dict())
    return network.double().eval()


@pytest.fixture(scope="module", autouse=True)
def few_checks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logitpair.auditing.checks.run_checks.SAMPLE", 8)
        patch.setattr("logitpair.auditing.checks.attack_checks.QUERIES", 20)
        yield


@pytest.fixture(scope="module")
def audited(model: nn.Module, sample: Pair) -> lp.Audit:
    """What other ways to the same audit are compared with."""
    return audit(model, sample)


def audit(model: nn.Module, data: lp.data.Data, *, threat: lp.Linf = lp.Linf(0.05), **options: object) -> lp.Audit:
    quick = lp.attacks.PGD(threat, step_size=threat.eps / 4, steps=6)
    return lp.audit(model, data, threat=threat, **{"progress": False, "budget": BUDGET, "reference_attack": quick, **options})


def same(a: lp.Audit, b: lp.Audit) -> None:
    ignored = ("created", "wall_time_seconds", "hardware", "rounds", "cache_key")
    assert {k: v for k, v in a.results.items() if k not in ignored} == {k: v for k, v in b.results.items() if k not in ignored}
    for one, other in zip(a.results["rounds"], b.results["rounds"], strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert a.ledger.keys() == b.ledger.keys()
    for name in a.ledger:
        np.testing.assert_allclose(a.ledger[name], b.ledger[name], rtol=0, atol=1e-9, err_msg=name)


def test_ledger_and_results_agree(audited: lp.Audit) -> None:
    results, ledger = audited.results, audited.ledger
    correct = ledger["broken_in_round"] == -1
    assert results["robust_accuracy"]["correct"] == correct.sum() < results["clean"]["correct"]
    assert (ledger["prediction"] == ledger["y"])[correct].all()
    assert (ledger["prediction"] != ledger["y"])[~correct].all()
    assert (ledger["distance"] <= 0.05 + 1e-9).all()
    assert (ledger["restart"][correct] == -1).all()
    assert (ledger["step"][correct] == -1).all()
    assert results["gradient_evaluations_per_example"] == pytest.approx(ledger["gradients"].mean())
    assert results["rounds"][-1]["gradients_per_example"] == pytest.approx(ledger["gradients"].mean())
    assert results["rounds"][-1]["still_correct"] == correct.sum()
    for number, entry in enumerate(results["rounds"]):
        assert entry["broken"] == (ledger["broken_in_round"] == number).sum()
    assert results["clean"]["correct"] == (ledger["broken_in_round"] != -2).sum()
    low, high = results["robust_accuracy"]["ci95"]
    assert low <= audited.robust_accuracy <= high
    spent = results["gradient_evaluations_per_example"] + results["forward_evaluations_per_example"] / 3
    assert BUDGET / 2 < spent <= BUDGET
    assert {"check", "passed", "evidence", "advice"} <= results["findings"][0].keys()


def test_an_audit_in_l2(trained: nn.Module, sample: Pair) -> None:
    x, y = sample[0][:12].float(), sample[1][:12]
    ball = lp.L2(0.8)
    found = lp.audit(trained, (x, y), threat=ball, budget=15, progress=False)
    results, ledger = found.results, found.ledger
    assert results["threat"] == {"class_path": "logitpair.threat.L2", "init_args": {"eps": 0.8}}
    assert results["reference"]["parameters"]["init_args"]["step_size"] == pytest.approx(0.8 / 30)
    assert ledger["distance"].max() == pytest.approx(0.8, abs=1e-5)
    assert results["robust_accuracy"]["correct"] <= results["reference"]["correct"]
    assert results["robust_accuracy"]["correct"] <= results["robust_accuracy_8_bit"]["correct"] < results["clean"]["correct"]
    clean, x_adv = (torch.from_numpy(ledger[f"gallery/{name}"]) for name in ("x", "x_adv"))
    assert ball.contains(x_adv, clean).all()
    assert trained(x_adv).argmax(1).tolist() == ledger["prediction"][: len(clean)].tolist()
    assert [point["eps"] for point in results["eps_curve"]] == pytest.approx([0, 0.4, 0.8, 1.6, 8])  # of 64 pixels
    assert results["eps_curve"][-1]["top1"] == 0
    assert ledger["surface/margin"].shape[1:] == (5, 5)


def test_a_landscapes_columns_go_along_the_sign_of_the_gradient(model: nn.Module, audited: lp.Audit, sample: Pair) -> None:
    surface, position = (torch.from_numpy(audited.ledger[f"surface/{name}"]) for name in ("margin", "position"))
    x, y = sample[0][position].requires_grad_(), sample[1][position]
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), x)
    for column, step in enumerate(torch.linspace(-0.05, 0.05, 5)):
        expected = lp.losses.margin(model((x + step * gradient.sign()).clamp(0, 1)), y)
        torch.testing.assert_close(surface[:, 2, column], expected.detach())
    assert (surface[:, 0] != surface[:, 4]).any(), "rows go along random signs"


def test_every_break_is_one_on_a_fresh_forward(model: nn.Module, audited: lp.Audit) -> None:
    x, x_adv = (torch.from_numpy(audited.ledger[f"gallery/{name}"]) for name in ("x", "x_adv"))
    assert lp.Linf(0.05).contains(x_adv, x).all()
    with torch.no_grad():
        prediction = model(x_adv).argmax(1).numpy()
    np.testing.assert_array_equal(prediction, audited.ledger["prediction"][: len(x)])


def test_an_attack_that_leaves_the_ball_breaks_nothing(model: nn.Module, sample: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def cheat(attack: Attack, *arguments: object, **options: object) -> lp.attacks.AttackResult:
        found = honest(attack, *arguments, **options)
        return lp.attacks.AttackResult(1 - found.x_adv, found.restart, found.step, found.gradients, found.forwards)

    honest = Attack.find_unchecked
    monkeypatch.setattr(Attack, "find_unchecked", cheat)
    found = audit(model, sample, budget=15)
    assert found.robust_accuracy == found.record.clean.top1


@pytest.mark.parametrize("batch_size", [7, 16])
def test_results_do_not_depend_on_the_batch_size(model: nn.Module, sample: Pair, audited: lp.Audit, batch_size: int) -> None:
    same(audited, audit(model, sample, batch_size=batch_size))


def test_another_seed_searches_elsewhere(model: nn.Module, sample: Pair, audited: lp.Audit) -> None:
    assert not np.array_equal(audited.ledger["margin"], audit(model, sample, seed=1, budget=15).ledger["margin"])


def test_an_interrupted_audit_goes_on_to_the_same_results(
    model: nn.Module, sample: Pair, audited: lp.Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, calls = Attack.find_unchecked, []

    def interrupted(attack: Attack, *arguments: object, **options: object) -> object:
        calls.append(attack)
        if len(calls) == 8 and not list(tmp_path.glob("resumed")):
            raise KeyboardInterrupt
        return search(attack, *arguments, **options)

    monkeypatch.setattr(Attack, "find_unchecked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        audit(model, sample, batch_size=8, folder=tmp_path)
    assert list(tmp_path.glob("parts/*/*.npz"))
    (tmp_path / "resumed").touch()
    resumed = audit(model, sample, batch_size=8, folder=tmp_path)
    searched = len(calls) - 1  # the interrupted one again
    calls.clear()
    same(audited, audit(model, sample, batch_size=8))
    assert searched <= len(calls), "something was searched twice"
    same(audited, resumed)
    resumed.save(tmp_path)
    assert not (tmp_path / "parts").exists()


def test_chunks_that_do_not_make_up_a_round_are_refused(
    model: nn.Module, sample: Pair, audited: lp.Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logitpair.runtime.distributed.dist.barrier", lambda: None)  # the other process never comes
    with pytest.raises(InputError, match="are missing"):
        audit(model, sample, batch_size=8, folder=tmp_path, world=World(rank=1, size=2, device=torch.device("cpu")))
    same(audited, audit(model, sample, batch_size=8, folder=tmp_path))


def test_all_kinds_of_data_give_the_same(trained: nn.Module) -> None:
    test = lp.data.Digits().test()
    x, y = test.images[:30], test.labels[:30]
    pair = (x.float() / 255, y)
    expected = audit(trained, pair, budget=15).ledger["broken_in_round"]
    for data in (TensorDataset(*pair), DataLoader(TensorDataset(*pair), batch_size=11), (x, y)):
        np.testing.assert_array_equal(expected, audit(trained, data, budget=15).ledger["broken_in_round"])


def test_two_classes(trained: nn.Module) -> None:
    class Even(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = trained(x)
            return torch.stack([logits[:, ::2].logsumexp(1), logits[:, 1::2].logsumexp(1)], 1)

    test = lp.data.Digits().test()
    found = audit(Even(), (test.images[:30].float() / 255, test.labels[:30] % 2), budget=60)
    assert found.robust_accuracy < found.results["clean"]["top1"]
    assert "apgd_margin" in {strategy.name for strategy in strategies_for(THREAT, 2, {})}


def test_a_thousand_classes() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 1000)).eval()
    x = torch.rand(12, 1, 8, 8)
    found = audit(network, (x, network(x).argmax(1)))
    assert found.results["classes"] == 1000
    assert found.robust_accuracy < 1


def test_images_of_another_network_are_tried(model: nn.Module, sample: Pair) -> None:
    found = audit(model, sample, sources={"twin": model}, threat=lp.Linf(0.02), budget=80)
    assert "transfer_twin" in {entry["strategy"] for entry in found.results["rounds"]}
    assert "transfer_twin" in {finding["check"] for finding in found.results["findings"]}


def test_a_reported_accuracy_is_judged_without_repeating_it(model: nn.Module, sample: Pair) -> None:
    reported = {"top1": 0.9, "correct": 27, "total": 30, "ci95": [0.74, 0.97]}
    found = audit(model, sample, reported_accuracy=reported, threat=lp.Linf(0.2), budget=40)
    assert found.verdict == "overestimated"
    assert found.results["reference"]["top1"] == 0.9
    assert not found.results["reference"]["measured"]


def test_a_spent_budget_leaves_the_answer_open(model: nn.Module, sample: Pair, audited: lp.Audit) -> None:
    found = audit(model, sample, budget=0.5, reported_accuracy=audited.results["clean"])
    assert found.verdict == "inconclusive"
    assert found.record.further_breaks == found.record.clean.correct
    assert not found.results["converged"]
    assert found.robust_accuracy == found.results["clean"]["top1"]


def test_what_is_measured_on_some_is_measured_on_a_random_sample(model: nn.Module, sample: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logitpair.auditing.reference.EXAMPLES", 12)
    attacked: list[Tensor] = []
    search = AuditContext.search
    monkeypatch.setattr(
        AuditContext,
        "search",
        lambda context, stage, positions, *rest: (
            attacked.append(positions) if stage == 999 else None,
            search(context, stage, positions, *rest),
        )[1],
    )
    by_class = sample[1].sort().indices  # the first 12 hold four of the ten classes
    audit(model, (sample[0][by_class], sample[1][by_class]), budget=15)
    assert len(set(sample[1][by_class][attacked[0]].tolist())) > 4
    assert (np.diff(attacked[0]) > 0).all()


def test_what_only_logits_that_are_not_finite_break_is_said(sample: Pair) -> None:
    class Overflowing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            zeros = 0 * x.flatten(1)[:, :9]
            logits = torch.cat([1 - x.flatten(1)[:, :1], zeros], 1)
            return torch.where((x > 0.01).flatten(1).all(1, keepdim=True), torch.nan, logits)

    found = audit(Overflowing(), (sample[0] * 0, sample[1] * 0))
    assert found.robust_accuracy < 1
    (finite,) = (finding for finding in found.record.findings if finding.check == "finite")
    assert not finite.passed
    assert finite.measured == {"clean": 0.0, "broken": pytest.approx(1 - found.robust_accuracy)}
    assert found.verdict == "inconclusive"


class OffTheGrid(nn.Module):
    """Class 1 for those brighter images alone that hold multiples of 1/255."""

    def forward(self, x: Tensor) -> Tensor:
        mean, on_grid = x.mean((1, 2, 3)), ((255 * x).round() / 255 - x).abs().amax((1, 2, 3)) < 1e-6
        return torch.stack([torch.zeros_like(mean), mean - 10 + 20 * ((mean > 0.51) & on_grid)], 1)


class Worn(nn.Module):
    """Other logits after so many calls."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, [0]

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1
        return self.network(x) + (self.calls[0] > 20) * torch.arange(10)


def test_what_rounding_alone_breaks_is_broken() -> None:
    images = torch.full((12, 1, 8, 8), 128 / 255)
    found = audit(OffTheGrid(), (images, torch.zeros(12, dtype=torch.long)), threat=lp.Linf(0.1))
    assert found.record.robust_accuracy.correct == found.record.robust_accuracy_8_bit.correct == 0
    assert (OffTheGrid()(torch.from_numpy(found.ledger["gallery/x_adv"])).argmax(1) == 1).all()


def test_a_network_that_changes_during_the_search_is_not_repeatable(model: nn.Module, sample: Pair) -> None:
    found = audit(Worn(model), sample)
    assert not next(finding for finding in found.record.findings if finding.check == "repeatable").passed
    assert found.verdict == "inconclusive"


def test_plots(audited: lp.Audit) -> None:
    assert {"convergence", "surfaces"} <= audited.plots().keys()


def test_save_and_load_round_trip(model: nn.Module, sample: Pair, audited: lp.Audit, tmp_path: Path) -> None:
    audited.save(tmp_path)
    loaded = lp.Audit.load(tmp_path)
    written = json.loads((tmp_path / "results.json").read_text())
    assert loaded.results == audited.results == {key: value for key, value in written.items() if key != "ledger_sha256"}
    assert loaded.table() == audited.table()
    assert outlook(audited.record) in audited.table().split("\n\n")
    for name, values in audited.ledger.items():
        np.testing.assert_array_equal(values, loaded.ledger[name])
    lp.evaluate(model, sample, attacks={"pgd": REFERENCE}, progress=False).save(tmp_path)
    with pytest.raises(InputError, match="logitpair audit"):
        lp.Audit.load(tmp_path)


def test_the_model_is_left_as_it_was(model: nn.Module, sample: Pair) -> None:
    model = copy.deepcopy(model).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    audit(model, sample, budget=15)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_model_that_is_never_right(sample: Pair) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double().eval()
    with torch.no_grad():
        wrong = (network(sample[0]).argmax(1) + 1) % 10
    found = audit(network, (sample[0], wrong))
    assert found.robust_accuracy == 0 == found.results["gradient_evaluations_per_example"]
    assert found.verdict == "trustworthy"


@pytest.mark.usefixtures("no_shape_checks")
def test_numbers_of_numpy_are_written_down_as_any(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    data = sample[0][:4], sample[1][:4]
    for budget in (np.int64(2), np.float32(2), np.float64(2)):
        ball = lp.Linf(np.linspace(0, 0.1, 3)[1])
        found = audit(model, data, threat=ball, budget=budget, seed=np.int64(0), batch_size=np.int64(4), workers=np.int64(0))
        found.save(tmp_path)
        assert lp.Audit.load(tmp_path).record.budget == 2


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (lambda x, y: (x[:0], y[:0]), {}, "data: holds no examples"),
        (lambda x, y: DataLoader(TensorDataset(x, y), batch_size=99, drop_last=True), {}, "data: holds no examples"),
        (lambda x, y: (x, y), {"threat": 0.05}, "threat must be a threat model such as"),
        (lambda x, y: (x.expand(-1, 3, -1, -1), y), {}, "model cannot take images of .3, 8, 8."),
        (lambda x, y: (x, y), {"threat": lp.Linf(0.0)}, "threat: eps must be above 0"),
        (lambda x, y: (x, y), {"budget": 0}, "budget must be above 0"),
        (lambda x, y: (x, y), {"minutes": -1}, "minutes must be above 0"),
        (lambda x, y: (2 * x, y), {}, "x: pixels must lie in"),
        (lambda x, y: (x, y + 10), {}, "y: labels must lie in"),
        (lambda x, y: (x, y), {"sources": {"white_box": nn.Identity()}}, "white_box"),
        (lambda x, y: (x, y), {"sources": {"a": 3}}, "sources: 'a' must be an nn.Module .* not a int"),
        (
            lambda x, y: (x, y),
            {"sources": {"a": nn.Sequential(nn.Flatten(), nn.Linear(192, 10)).double()}},
            r"sources: 'a' cannot take images of \[1, 8, 8\]",
        ),
        (
            lambda x, y: (x, y),
            {"sources": {"a": nn.Sequential(nn.Flatten(), nn.Linear(64, 7)).double()}},
            "sources: 'a' has 7 classes, the model 10",
        ),
        (lambda x, y: (x, y), {"certificate": "runs/mine/certificate"}, "certificate must be None or what lp.certify gives, not 'runs"),
        (lambda x, y: (x, y), {"sources": [nn.Identity()]}, "sources: must be a mapping .* not a list"),
        (lambda x, y: (x, y), {"precision": "float8"}, "precision: 'float8' is none; accepted: auto, float32"),
        (lambda x, y: (x, y), {"world": World(rank=0, size=2, device=torch.device("cpu"))}, "folder is not given"),
        (
            lambda x, y: (x, y),
            {"reference_attack": lp.attacks.PGD(lp.Linf(0.05), step_size=0.1, steps=2, target=lp.attacks.LeastLikely())},
            "reference_attack: is targeted",
        ),
        (lambda x, y: (x, y), {"reference_attack": REFERENCE}, "reference_attack: attacks in Linf.eps=0.2., the audit in Linf.eps=0.05."),
        (lambda x, y: (x, y), {"reference_attack": lp.attacks.Square(lp.Linf(0.05))}, "reference_attack: is a Square; accepted: an untarg"),
        (lambda x, y: (x, y), {"reported_accuracy": 5}, "reported_accuracy: must be a mapping .* not a int"),
        (lambda x, y: (x, y), {"reported_accuracy": {"top1": 0.5}}, "reported_accuracy: must hold top1, correct, total and ci95"),
        (
            lambda x, y: (x, y),
            {"reported_accuracy": {"top1": 0.5, "correct": 5000, "total": 10_000, "ci95": [0.49, 0.51]}},
            "reported_accuracy: is of 10,000 images, and data holds 30",
        ),
        (lambda x, y: [x, y], {}, "data: must be a tuple .x, y., a Dataset or a DataLoader, not"),
        (lambda x, y: (x, y), {"seed": 0.5}, "seed must be a whole number"),
        (lambda x, y: (x, y), {"reference_attack": lp.attacks.APGD(lp.Linf(0.05), steps=5)}, "reference_attack: is an? APGD; accepted: an"),
        (lambda x, y: (x, y), {"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        (lambda x, y: TensorDataset(x, y), {"workers": -1}, "workers must be a whole number of at least 0, not -1"),
    ],
)
def test_bad_input_is_refused(model: nn.Module, sample: Pair, data: object, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        lp.audit(model, data(*sample), **{"threat": lp.Linf(0.05), "progress": False, **options})


@pytest.fixture(scope="module")
def certificate(model: nn.Module, sample: Pair) -> lp.Certificate:
    return lp.certify(model, sample, threat=lp.Linf(0.05), method="crown-ibp", progress=False)


def test_certified_images_are_not_searched(model: nn.Module, sample: Pair, audited: lp.Audit, certificate: lp.Certificate) -> None:
    certified = certificate.ledger["certified_by"] >= 0
    assert 2 < certified.sum() < audited.record.robust_accuracy.correct
    found = audit(model, sample, certificate=certificate)
    results, ledger = found.results, found.ledger
    np.testing.assert_array_equal(ledger["certified"], certified)
    assert (ledger["gradients"][certified] == 0).all()
    assert (ledger["gradients"][ledger["broken_in_round"] >= 0] > 0).all()
    assert (ledger["broken_in_round"][certified] == -1).all()
    assert not audited.ledger["certified"].any()
    assert (audited.ledger["gradients"][certified] > 0).all(), "without a certificate they are"
    proven, left = results["certified"], results["robust_accuracy"]
    assert proven["correct"] == certified.sum() <= left["correct"] <= results["clean"]["correct"]
    assert proven["correct"] / 30 == proven["top1"]
    assert audited.record.certified is None
    assert "lies between the certified" not in audited.record.reason
    words = f"; robust accuracy lies between the certified {proven['top1']:.2%} and the audited {left['top1']:.2%}: "
    assert words in found.record.reason
    assert all(entry["attacked"] <= 30 - certified.sum() for entry in results["rounds"])
    assert all(entry["certified"] == certified.sum() for entry in results["rounds"])
    assert found.rows()[-1][0] == "certified"


def test_where_all_is_certified_nothing_is_searched(model: nn.Module, sample: Pair) -> None:
    x = sample[0]
    with torch.no_grad():
        y = model(x).argmax(1)
    certificate = lp.certify(model, (x, y), threat=lp.Linf(1e-6), method="ibp", progress=False)
    assert certificate.certified_accuracy == 1
    found = audit(model, (x, y), threat=lp.Linf(1e-6), certificate=certificate)
    assert found.record.rounds == ()
    assert found.record.stop_reason == "every image is broken or certified"
    assert found.record.reason.endswith("every image is decided")


@pytest.mark.parametrize("other", ["network", "settings", "images", "stream", "larger eps", "norm"])
def test_a_certificate_of_something_else_is_refused(model: nn.Module, sample: Pair, certificate: lp.Certificate, other: str) -> None:
    subject, data, threat = model, sample, lp.Linf(0.05)
    if other == "network":
        subject = copy.deepcopy(model)
        subject.logits.bias.data[0] += 1
    elif other == "settings":
        subject = copy.deepcopy(model)
        subject.logits.another = 1  # type: ignore[assignment]  # of no weight, as a slope would be
    elif other == "images":
        data = sample[0].flip(0), sample[1].flip(0)
    elif other == "stream":
        certificate = lp.Certificate(msgspec.structs.replace(certificate.record, images=None), certificate.ledger)
    else:
        threat = lp.Linf(0.06) if other == "larger eps" else lp.threat.L2(0.05)
    words = {"network": "another network", "settings": "another network", "images": "other images", "stream": "DataLoader"}
    said = words.get(other, r"of Linf.eps=0.05., and does not hold in")
    with pytest.raises(InputError, match=f"^certificate: .*{said}"):
        audit(subject, data, threat=threat, certificate=certificate)


def test_a_certificate_of_a_larger_ball_holds(model: nn.Module, sample: Pair, certificate: lp.Certificate) -> None:
    found = audit(model, sample, threat=lp.Linf(0.04), certificate=certificate, budget=5)
    assert found.record.certified is not None
    assert found.record.certified.correct == certificate.record.certified.correct


def test_an_audit_finds_a_wrong_certificate(model: nn.Module, sample: Pair, audited: lp.Audit, certificate: lp.Certificate) -> None:
    """An image that the audit breaks is marked as certified; a transferred or batched break of it is noticed."""
    wrong = audited.ledger["broken_in_round"] >= 0
    assert wrong.any()
    ledger = certificate.ledger | {"certified_by": np.where(wrong, 0, certificate.ledger["certified_by"])}
    with pytest.raises(InputError, match="is certified and was broken; the certificate is wrong, or of another network"):
        audit(model, sample, certificate=lp.Certificate(certificate.record, ledger), threat=lp.Linf(0.05))


def test_a_reported_number_below_the_certificate_is_refused(model: nn.Module, sample: Pair, certificate: lp.Certificate) -> None:
    certified = certificate.record.certified
    assert certified.correct
    low = accuracy(certified.correct - 1, certified.total)
    with pytest.raises(
        InputError, match=f"{certified.correct} images are certified, and the reference attack left {certified.correct - 1}"
    ):
        audit(model, sample, certificate=certificate, threat=lp.Linf(0.05), budget=5, reported_accuracy=low)
