"""The report, from a run directory made by hand."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from handmade_runs import ATTACK, CLASSES, X, add_evaluation, entry, make_run, results

from logitpair.errors import InputError
from logitpair.evaluation.confidence import wilson
from logitpair.evaluation.result import Evaluation
from logitpair.report import write_report
from logitpair.report.figures.gallery import gallery
from logitpair.report.figures.line_chart import ticks
from logitpair.report.figures.plots import training_charts
from logitpair.report.records.evaluation import Accuracy
from logitpair.report.records.run import load_run
from logitpair.report.text.commands import commands
from logitpair.report.text.evaluation_summary import summarize
from logitpair.report.text.format import call, duration, percent, radius, settings_text
from logitpair.report.text.lead import lead
from logitpair.storage.schema1 import NO_CLASS


def page_of(runs: list[Path], tmp_path: Path) -> str:
    out = tmp_path / "out" / "page.html"
    write_report(runs, out)
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]
    return out.read_text()


def test_one_page_that_loads_nothing_and_holds_the_numbers(tmp_path: Path) -> None:
    page = page_of([make_run(tmp_path / "pets-alp")], tmp_path)
    loads = re.findall(r"""(?:src|href|srcset|url)\s*[=(]\s*["']?([^"'\s)>]+)""", page)
    assert loads
    assert all(load.startswith("data:image/png;base64,") for load in loads)
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    for number in ("68.5%", "61.8 \N{EN DASH} 74.5", "96.5%", "85.5%", "31.5", "137 / 200", "eps = 0.2", "5 min"):
        assert number in page, number


def test_what_runs_say_is_escaped(tmp_path: Path) -> None:
    page = page_of([make_run(tmp_path / "<b>run</b>")], tmp_path)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>run" not in page


def test_no_absolute_path_of_this_machine(tmp_path: Path) -> None:
    page = page_of([make_run(tmp_path / "pets-alp")], tmp_path)
    for folder in (str(tmp_path), "/home/somebody", "/somewhere/else"):
        assert folder not in page


def test_commands_name_recipe_scale_seeds_and_sources(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "pets-alp"))
    assert commands([run], tmp_path / "page.html") == [
        "logitpair train pets-alp --data-dir DIR --scale cpu --out runs/pets-alp --seed 3",
        "logitpair evaluate runs/pets-alp --source other=runs/other --examples 200 --seed 7",
        "logitpair report runs/pets-alp --out runs/page.html",
    ]


def test_a_network_of_one_s_own_is_evaluated_again_by_its_own_options(tmp_path: Path) -> None:
    network = {"name": "my.net:Net", "weights": "w.pt", "pretrained": False, "classes": None, "mean": [0.5, 0.25], "std": [0.5, 1.0]}
    data = {"name": "photos", "class_names": CLASSES, "size": 64, "resize": None}
    changes = {"network": network | {"labels": "my names.txt"}, "data": data, "checkpoint": None, "sources": {}, "black_box": {}}
    run = load_run(add_evaluation(tmp_path / "own", results(**changes)))
    assert commands([run], tmp_path / "page.html")[0] == (
        "logitpair evaluate --model my.net:Net --weights w.pt --mean 0.5,0.25 --std 0.5,1.0 --labels 'my names.txt' --size 64 "
        "--data-dir DIR --out runs/own --attacks ATTACKS.yaml --examples 200 --seed 7"
    )
    pretrained = {"name": "timm:resnet18", "pretrained": True, "classes": 3}
    again = load_run(add_evaluation(tmp_path / "published", results(**changes | {"network": pretrained})))
    assert "--model timm:resnet18 --pretrained --classes 3 --size 64" in commands([again], tmp_path / "page.html")[0]


def test_commands_tell_that_the_attacks_were_not_the_recipes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["run"]["evaluation"]["attacks"]["pgd"]["init_args"]["steps"] = 41
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert "--attacks ATTACKS.yaml" in commands([load_run(folder)], tmp_path / "page.html")[1]


def test_paths_are_shown_relative_to_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "demo" / "pets-alp")
    monkeypatch.chdir(tmp_path)
    assert load_run(tmp_path / "demo" / "pets-alp").path == "demo/pets-alp"
    assert load_run(Path("demo/pets-alp")).path == "demo/pets-alp"


def test_a_run_without_an_evaluation_shows_its_training(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "fresh")
    (folder / "evaluation" / "test" / "results.json").unlink()
    page = page_of([folder], tmp_path)
    assert "not evaluated yet" in page
    assert "logitpair evaluate runs/fresh" in page
    assert "Loss and its terms" in page


def test_an_evaluation_without_training_files_is_enough(tmp_path: Path) -> None:
    content = results()
    for key in ("data", "sources", "checkpoint"):
        del content[key]
    folder = add_evaluation(tmp_path / "bare", content)
    (folder / "evaluation" / "test" / "ledger.npz").unlink()
    assert "68.5%" in page_of([folder], tmp_path)


def test_no_training_yet_no_epoch_and_non_finite_metrics(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "metrics.jsonl").write_text('{"step": 1, "epoch": 0.0, "loss": NaN}\n{"step": 2, "loss": 1}\n')
    assert "Loss and its terms" not in page_of([folder], tmp_path)


def test_all_evaluations_are_shown_and_test_comes_first(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    add_evaluation(folder, results(standing=99, name="longer"))
    run = load_run(folder)
    assert [evaluation.name for evaluation in run.evaluations] == ["test", "longer"]
    assert "Evaluation “longer”" in page_of([folder], tmp_path)


@pytest.mark.parametrize("made", [False, True])
def test_nothing_to_show_is_one_line_with_the_next_command(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "empty"
    if made:
        folder.mkdir()
    with pytest.raises(InputError, match=r"empty.*`logitpair (evaluate|train)") as caught:
        page_of([folder], tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "null",
        '{"schema": 2}',
        '{"schema": 1}',
        json.dumps(results(white_box=entry(3) | {"attack": "unknown"})),
        json.dumps(results(clean={"top1": 3.0, "correct": 3, "total": 1, "ci95": [0, 1]})),
        json.dumps(results(curve=[{"eps": 0.1}])),
        json.dumps(results(black_box=[])),
        json.dumps(results(data={"name": "pets", "class_names": ["cat"]})),
        json.dumps(results(white_box=entry(3) | {"attack": "pgd", "confusion": [[1, 2]]})),
    ],
)
def test_damaged_results_are_refused_in_one_line(tmp_path: Path, content: str) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "evaluation" / "test" / "results.json").write_text(content)
    with pytest.raises(InputError, match=r"results\.json.*logitpair evaluate") as caught:
        page_of([folder], tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.yaml", "training.json", "evaluation/test/ledger.npz"])
def test_other_damaged_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "run")
    (folder / name).write_bytes(b"PK\x03\x04 [")
    with pytest.raises(InputError, match=re.escape(Path(name).name)):
        page_of([folder], tmp_path)


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        write_report([], tmp_path / "page.html")


def test_the_headline_ranks_only_a_lead_beyond_chance(tmp_path: Path) -> None:
    runs = [load_run(make_run(tmp_path / name, standing=standing)) for name, standing in (("weak", 20), ("near", 130), ("strong", 137))]
    assert summarize(runs[::2]).headline == "strong withstands the attack best: 68.5%, 58.5 points ahead of weak"
    level = summarize(runs)
    assert level.headline == "strong and near withstand the attack about equally well"
    assert "weak keeps 10.0%" in level.paragraph
    assert "upper bound" in level.caution
    assert not level.doubts


def test_runs_under_other_conditions_are_not_ranked(tmp_path: Path) -> None:
    here, there = make_run(tmp_path / "a"), make_run(tmp_path / "b", data={"name": "cars", "class_names": CLASSES})
    summary = summarize([load_run(here), load_run(there)])
    assert "different conditions" in summary.headline
    assert "differ in data" in summary.paragraph


def test_signs_of_a_weak_attack_are_told(tmp_path: Path) -> None:
    curve = [{"eps": eps, **entry(correct)} for eps, correct in ((0.0, 193), (0.5, 150))]
    run = load_run(make_run(tmp_path / "run", standing=180, curve=curve))
    masked, grey = summarize([run]).doubts
    assert "images made against other fool it more often" in masked
    assert "plain grey" in grey


def test_lead_has_newcombes_interval() -> None:
    """Newcombe 1998, table II, example (a), method 10: 56/70 - 48/80."""
    first, second = (Accuracy(c / n, *wilson(c, n), c, n) for c, n in ((56, 70), (48, 80)))
    assert lead(first, second) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_an_attack_that_leaves_no_answer_is_shown_as_such(tmp_path: Path) -> None:
    content = results()
    ledger = {"y": [0, 1], "clean/prediction": [0, 1], "white_box/pgd/prediction": [NO_CLASS, 1]}
    images = {"gallery/x": X, "gallery/white_box/pgd": np.clip(X + 0.2, 0, 1)}
    Evaluation(content, {name: np.asarray(column) for name, column in (ledger | images).items()}).save(tmp_path / "run/evaluation/test")
    evaluation = load_run(tmp_path / "run").main
    assert evaluation
    shown = gallery(evaluation)
    assert shown
    assert [(triple.after, triple.outcome) for triple in shown.triples] == [("no answer", "fooled"), (CLASSES[1], "held")]


def test_gallery_tells_what_happened_and_amplifies_the_change(tmp_path: Path) -> None:
    evaluation = load_run(make_run(tmp_path / "run")).main
    assert evaluation
    shown = gallery(evaluation)
    assert shown
    assert [triple.outcome for triple in shown.triples] == ["fooled", "held"]
    assert (shown.triples[0].before, shown.triples[0].after) == ("cat", "dog")
    assert (shown.amplified, shown.colour) == ("5", False)


def test_a_long_training_is_drawn_with_few_points() -> None:
    chart = training_charts([{"step": i, "epoch": i / 1000, "loss": 1.0} for i in range(1, 10_001)])[0]
    assert chart.lines[0].path.count("L") < 300


def test_numbers_as_people_read_them() -> None:
    assert [percent(f) for f in (0.0, 0.6555, 0.9999, 1.0)] == ["0.0%", "65.5%", "99.9%", "100.0%"]
    assert [radius(eps) for eps in (0.0, 0.3, 0.325, 8 / 255, 0.06)] == ["0", "0.3", "0.325", "8/255", "0.06"]
    assert [duration(s) for s in (7.81, 49, 300, 9000)] == ["7.8 s", "49 s", "5 min", "2.5 h"]
    assert call(ATTACK) == "PGD(threat=Linf(eps=0.2), step_size=0.02, steps=40)"
    assert settings_text({"root": "/home/me/data", "seed": 1}) == "root: …/data\nseed: 1\n"
    assert ticks(0.5, 5) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert ticks(39.95, 5)[-1] == 40


def test_a_run_that_is_given_twice_is_shown_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "pets-alp")
    assert page_of([run, run / "." / ".." / run.name], tmp_path / "a").count("<h2") == page_of([run], tmp_path / "b").count("<h2")
    copy = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, copy)
    page_of([run, copy], tmp_path / "c")
