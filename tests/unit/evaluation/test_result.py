"""Evaluation: what is written down, read back, and refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from handmade_results import AUDIT
from small_evaluations import BALL, STRONG, SUITE, WEAK, Pair, evaluate, same_ledger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import logitpair as lp
from logitpair import InputError
from logitpair.attacks import PGD
from logitpair.evaluation.confidence import wilson
from logitpair.rng import draw_sample
from logitpair.storage.model_fingerprint import weights_of


@pytest.fixture(scope="module")
def sample() -> Pair:
    test = lp.data.Digits().test()
    return test.images[:60].double() / 255, test.labels[:60]


@pytest.fixture
def model(trained: nn.Module) -> nn.Module:
    """The trained network in float64, so that batch sizes change no sign of a gradient."""
    network = lp.models.SmallConvNet(width=4)
    network.load_state_dict(trained.state_dict())
    return network.double().eval()


def test_gradient_evaluations_are_counted_for_each_example(model: nn.Module, sample: Pair) -> None:
    evaluation = evaluate(
        model, sample, attacks={"all": PGD(BALL, step_size=0.01, steps=5, restarts=2).without_early_stop(), "stop": STRONG}
    )
    results = evaluation.results
    attacked = evaluation.ledger["clean/top5"].sum()
    assert results["attacks"]["all"]["gradient_evaluations_per_example"] == pytest.approx(5 * 2 * attacked / 60)
    assert 0 < results["attacks"]["stop"]["gradient_evaluations_per_example"] < 20 * results["clean"]["correct"] / 60


def test_the_ledger_tells_the_same_as_the_results(model: nn.Module, sample: Pair) -> None:
    evaluation = evaluate(model, sample, sources={"other": lp.models.SmallConvNet(width=4).double()})
    results, ledger = evaluation.results, evaluation.ledger
    entries = {"clean": results["clean"]}
    entries |= {f"white_box/{name}": entry for name, entry in results["attacks"].items()}
    entries |= {f"other/{name}": entry for name, entry in results["black_box"]["other"]["attacks"].items()}
    for prefix, entry in entries.items():
        right = ledger[f"{prefix}/prediction"] == ledger["y"]
        assert (entry["correct"], entry["total"]) == (right.sum(), 60)
        assert entry["top1"] == pytest.approx(right.mean())
        assert entry["top5"] == pytest.approx(ledger[f"{prefix}/top5"].mean())
        assert entry["top5"] >= entry["top1"]
        assert entry["ci95"] == pytest.approx(wilson(int(right.sum()), 60))
        if prefix != "clean":
            assert entry["largest_distance"] == pytest.approx(ledger[f"{prefix}/distance"].max())
            assert entry["largest_distance"] <= 0.1 + 1e-7
    confusion = np.array(results["white_box"]["confusion"])
    assert confusion.sum() == 60
    assert np.trace(confusion) == results["white_box"]["correct"]
    assert np.array_equal(confusion.sum(1), np.bincount(ledger["y"], minlength=10))


def test_top5_is_left_out_where_there_are_5_classes_or_fewer(linear: nn.Module, middle: Pair) -> None:
    results = lp.evaluate(linear, middle, attacks={"weak": WEAK}, progress=False).results
    assert "top5" not in results["clean"]
    assert "top5" not in results["attacks"]["weak"]


def test_top5_of_the_union_counts_what_no_attack_pushed_out(model: nn.Module, sample: Pair) -> None:
    attacks = {name: attack.without_early_stop() for name, attack in SUITE.items()}
    evaluation = evaluate(model, sample, attacks=attacks)
    in_top5 = np.all([evaluation.ledger[f"white_box/{name}/top5"] for name in attacks], axis=0)
    union = evaluation.results["white_box_union"]
    assert union["top5"] == in_top5.mean() <= evaluation.results["white_box"]["top5"]
    assert union["top5_is_upper_bound"] == evaluation.results["white_box"]["top5_is_upper_bound"]


def test_the_curve_starts_at_clean_falls_and_agrees_with_the_attack(model: nn.Module, sample: Pair) -> None:
    evaluation = evaluate(model, sample, attacks={"strong": STRONG}, curve=(0, 0.05, 0.1, 0.3), curve_examples=40)
    points = evaluation.results["curve"]
    assert [point["eps"] for point in points] == [0, 0.05, 0.1, 0.3]
    assert [point["total"] for point in points] == [40] * 4
    accuracies = [point["top1"] for point in points]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > accuracies[-1]
    rows = draw_sample(np.arange(len(sample[1])), 40, 0, "curve")
    for point, column in ((points[0], "clean"), (points[2], "white_box/strong")):
        assert point["correct"] == (evaluation.ledger[f"{column}/prediction"] == evaluation.ledger["y"])[rows].sum()


def test_the_curve_is_of_examples_from_all_over_the_data(model: nn.Module, sample: Pair) -> None:
    x, y = sample
    order = y.argsort()  # class by class
    ledger = evaluate(model, (x[order], y[order]), attacks={"strong": STRONG}, curve=(0.3,), curve_examples=20).ledger
    attacked = ledger["y"][ledger["curve/0.3/gradients"] > 0]
    assert len(set(ledger["y"][:20])) < 5 < len(set(attacked))


@pytest.mark.parametrize("kind", [np.array, iter])
def test_the_radii_of_a_curve_may_come_as_an_array_or_one_by_one(model: nn.Module, sample: Pair, kind: Callable[..., Any]) -> None:
    found = evaluate(model, sample, attacks={"weak": WEAK}, curve=kind([0.25, 0.125]), curve_examples=5)
    assert [point.eps for point in found.record.curve] == [0.125, 0.25]


def test_the_curve_of_a_stream_is_of_its_first_examples(model: nn.Module, sample: Pair) -> None:
    class Stream(IterableDataset[Pair]):
        def __iter__(self) -> Iterator[Pair]:
            return iter(zip(*sample, strict=True))

    for wanted, total in ((20, 20), (500, 60)):
        found = evaluate(model, DataLoader(Stream(), batch_size=25), attacks={"strong": STRONG}, curve=(0.3,), curve_examples=wanted)
        assert found.results["curve"][0]["total"] == total
        assert (found.ledger["curve/0.3/gradients"][wanted:] == 0).all()


def test_save_and_load_round_trip(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    evaluation = evaluate(model, sample, curve=(0.0, 0.1))
    path = evaluation.save(tmp_path / "evaluation" / "test")
    written = json.loads(path.read_text())
    assert written.pop("ledger_sha256")
    assert written == json.loads(json.dumps(evaluation.results))
    again = lp.Evaluation.load(path.parent)
    assert again.results == evaluation.results
    same_ledger(evaluation, again)
    assert str(again) == str(evaluation)
    assert {entry.name for entry in path.parent.iterdir()} == {"results.json", "ledger.npz"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # numpy leaves a damaged file open
@pytest.mark.parametrize(
    "damage", ["missing", "other_ledger", "no_ledger", "truncated_ledger", "truncated_results", "other_schema", "not_a_mapping", "not_all"]
)
def test_damaged_evaluations_are_refused_in_one_line(model: nn.Module, sample: Pair, tmp_path: Path, damage: str) -> None:
    evaluate(model, (sample[0][:5], sample[1][:5]), attacks={"weak": WEAK}).save(tmp_path)
    ledger, results = tmp_path / "ledger.npz", tmp_path / "results.json"
    match damage:
        case "missing":
            tmp_path = tmp_path / "nowhere"
        case "other_ledger":
            evaluate(model, (sample[0][:6], sample[1][:6]), attacks={"weak": WEAK}).save(tmp_path / "other")
            ledger.write_bytes((tmp_path / "other" / "ledger.npz").read_bytes())
        case "no_ledger":
            ledger.unlink()
        case "truncated_ledger":
            ledger.write_bytes(ledger.read_bytes()[:100])
        case "truncated_results":
            results.write_text(results.read_text()[:100])
        case "other_schema":
            results.write_text(results.read_text().replace('"schema": 2', '"schema": 999'))
        case "not_all":
            results.write_text('{"schema": 2}')
        case "not_a_mapping":
            results.write_text("[]")
    with pytest.raises(InputError) as caught:
        lp.Evaluation.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_an_evaluation_in_a_ball_whose_radius_is_a_number_of_numpy_can_be_saved(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    attacks = {"weak": PGD(lp.Linf(np.linspace(0, 0.2, 3)[1]), step_size=np.float64(0.05), steps=2)}
    evaluate(model, sample, attacks=attacks, curve=(0.05,), adversarial=tmp_path / "adversarial").save(tmp_path)
    assert lp.Evaluation.load(tmp_path).record.attacks["weak"].images.eps == 0.1


def test_keys_that_others_rely_on(model: nn.Module, sample: Pair) -> None:
    results = evaluate(model, sample, sources={"other": lp.models.SmallConvNet(width=4).double()}).results
    for path in ("clean.top1", "clean.top5", "attacks.weak.top1", "white_box.top1", "white_box_union.top1", "black_box.other.top1"):
        value = results
        for key in path.split("."):
            value = value[key]
        assert 0 <= value <= 1
    assert isinstance(results["schema"], int)
    for key in ("seed", "versions", "hardware", "wall_time_seconds", "weights"):
        assert key in results
    json.dumps(results)


def test_only_an_evaluation_in_a_folder_has_a_cache_key_which_tells_its_data(model: nn.Module, sample: Pair, tmp_path: Path) -> None:
    bare, one = (evaluate(model, sample, attacks={"weak": WEAK}, folder=folder).results for folder in (None, tmp_path / "one"))
    other = evaluate(model, (1 - sample[0], sample[1]), attacks={"weak": WEAK}, folder=tmp_path / "other").results
    assert "cache_key" not in bare
    assert one["cache_key"] != other["cache_key"]
    assert bare["weights"] == one["weights"] == other["weights"] == weights_of(model)


def test_an_attack_may_have_any_name(model: nn.Module, sample: Pair) -> None:
    evaluation = evaluate(model, sample, attacks={"x": STRONG})
    clean = [images for key, images in evaluation.ledger.items() if "gallery" in key and np.array_equal(images, sample[0][: len(images)])]
    assert len(clean) == 1, "the clean images of the gallery were overwritten"


def test_without_a_terminal_progress_is_shown_in_lines(
    model: nn.Module, sample: Pair, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logitpair.runtime.progress.EVERY", 0.0)
    evaluate(model, sample, attacks={"weak": WEAK}, batch_size=30, progress=True)
    assert capsys.readouterr().out.splitlines() == ["evaluate: 30 of 60 images done", "evaluate: 60 of 60 images done"]
    evaluate(model, sample, attacks={"weak": WEAK}, batch_size=30, progress=False)
    assert not capsys.readouterr().out


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10)), "'other' cannot take images of .1, 8, 8."),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), "'other' has 7 classes, the model 10"),
    ],
)
def test_a_source_for_other_images_or_classes_is_refused(model: nn.Module, sample: Pair, source: nn.Module, said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate(model, sample, sources={"other": source.double()})


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (lambda x, y: (x[:0], y[:0]), {}, "data: holds no examples"),
        (lambda x, y: (x, y), {"attacks": {}}, "attacks"),
        (lambda x, y: (x, y), {"batch_size": 0}, "batch_size"),
        (lambda x, y: (x, y), {"curve": (0.1,), "curve_examples": 0}, "curve_examples"),
        (lambda x, y: (x, y), {"curve": 0.1}, "curve: must be a list of radii, .* not 0.1"),
        (lambda x, y: (2 * x, y), {}, "x: "),
        (lambda x, y: (x, y + 5), {}, "y: .*10 classes"),
        (lambda x, y: (x, y - 5), {}, "y: .*10 classes"),
        (lambda x, y: (x[0], y[:1]), {}, "x: "),
        (lambda x, y: (x, y + 0.5), {}, "y: "),
        (lambda x, y: (x, y), {"sources": {"white_box": nn.Identity()}}, "white_box"),
        (lambda x, y: (x, y), {"attacks": [WEAK]}, "attacks: must be a mapping .* not a list"),
        (lambda x, y: (x, y), {"attacks": {"p": "pgd_1_1_1"}}, "attacks: 'p' is a str, not an attack"),
        *((lambda x, y: (x, y), {"attacks": {name: WEAK}}, f"attacks: '{name}' cannot be a name") for name in ("", "../x", "a/b", 3)),
        (lambda x, y: (x, y), {"sources": [nn.Identity()]}, "sources: must be a mapping .* not a list"),
        (lambda x, y: (x, y), {"sources": {"a": None}}, "sources: 'a' must be an nn.Module .* not None"),
        (lambda x, y: lp.data.Digits(), {}, "data: Digits has several splits; pass one of them, such as its .test"),
        (lambda x, y: [x, y], {}, "data: must be a tuple .x, y., a Dataset or a DataLoader, not a list"),
        (lambda x, y: None, {}, "data: .* not None"),
        (lambda x, y: (x.repeat(1, 3, 1, 1), y), {}, "model cannot take images of .3, 8, 8."),
    ],
)
def test_bad_input_is_refused(model: nn.Module, sample: Pair, data: object, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate(model, data(*sample), **options)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("network", [None, lambda x: x])
def test_what_is_no_network_is_refused(sample: Pair, network: object) -> None:
    with pytest.raises(InputError, match="model must be an nn.Module"):
        evaluate(network, sample)
    with pytest.raises(InputError, match="model must be an nn.Module"):
        WEAK(network, *sample)
    with pytest.raises(InputError, match="models: must be a mapping"):
        lp.transfer([network], sample, attacks={"weak": WEAK}, folder="nowhere")


class Silent(nn.Module):
    """Logits that carry no gradient, by one of several ways, or whole numbers."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        logits = x.flatten(1)[:, :10]
        if self.way == "no_grad":
            with torch.no_grad():
                return 2 * logits
        return logits.detach() if self.way == "detach" else (100 * logits).long()


@pytest.mark.parametrize("way", ["no_grad", "detach"])
def test_a_network_without_gradients_is_warned_about_once(model: nn.Module, sample: Pair, way: str) -> None:
    with pytest.warns(UserWarning, match="gradient") as caught:
        evaluate(Silent(way), sample, batch_size=10)
    assert [str(one.message) for one in caught] == ["model: its logits carry no gradient; gradient attacks make no progress"]
    with pytest.warns(UserWarning, match="^sources: 'mute': its logits carry no gradient"):
        evaluate(model, sample, sources={"mute": Silent(way)})


def test_logits_of_whole_numbers_are_refused(sample: Pair) -> None:
    with pytest.raises(InputError, match="model: must return logits .* in floating point .* not int64"):
        evaluate(Silent("int"), sample)


def test_a_ledger_as_a_table_has_a_row_an_example_and_no_pictures() -> None:
    pytest.importorskip("pandas")
    columns = {"y": np.arange(3), "prediction": np.array([0, 1, 0]), "restarts/pgd/prediction": np.arange(3)}  # of a source of that name
    of_few = {"surface/position": np.arange(3), "restarts/margin": np.zeros((5, 3)), "gallery/x": np.zeros((3, 1, 8, 8))}
    table = lp.Audit(AUDIT, columns | of_few).to_pandas()
    assert table.columns.tolist() == list(columns)
    assert table.index.name == "example"
    assert table["prediction"].tolist() == [0, 1, 0]


def test_without_pandas_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"^to_pandas needs pandas, .*: pip install 'logitpair\[pandas\]'$"):
        lp.Audit(AUDIT, {"y": np.arange(3)}).to_pandas()
