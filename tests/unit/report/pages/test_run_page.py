"""The report of runs, from run directories made by hand."""

from __future__ import annotations

import math
import re
import shutil
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from handmade_audits import add_audit
from handmade_results import AUDIT, CERTIFICATE
from handmade_runs import ATTACK, CLASSES, add_evaluation, damage, evaluation, in_turn, make_run, tables
from msgspec.structs import replace

from logitpair.certification.result import Certificate
from logitpair.errors import InputError
from logitpair.report.pages.run_page import write_report
from logitpair.report.records import load_run
from logitpair.report.text.commands import commands
from logitpair.report.text.format import call, duration, exact, percent, radius, settings_text, value_text
from logitpair.storage.result_files import write_record
from logitpair.storage.results import BRANCHES, CertificateMethod, DataSet, Network


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


def test_the_worst_case_alone_is_compared_by_what_all_attacks_leave(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", in_turn())
    page = page_of([folder], tmp_path)
    ((_, row),) = tables(page, "comparison")
    assert [cell.partition("%")[0] for cell in row[1:4]] == ["96.5", "\N{EN DASH}", "45.0"]
    assert commands([load_run(folder)], tmp_path / "page.html")[1] == (
        "logitpair evaluate runs/run --source other=runs/other --attacks ATTACKS.yaml --worst-case-only --examples 200 --seed 7"
    )


def test_a_custom_network_is_evaluated_again_by_its_own_options(tmp_path: Path) -> None:
    data = DataSet(name="photos", split="test", class_names=CLASSES, size=64)
    network = Network(name="my.net:Net", weights="w.pt", mean=(0.5, 0.25), std=(0.5, 1.0), labels="my names.txt")
    results = replace(evaluation(), network=network, data=data, checkpoint=None, sources={}, black_box={})
    run = load_run(add_evaluation(tmp_path / "own", results))
    assert commands([run], tmp_path / "page.html")[0] == (
        "logitpair evaluate --model my.net:Net --weights w.pt --mean 0.5,0.25 --std 0.5,1.0 --labels 'my names.txt' --size 64 "
        "--data-dir DIR --out runs/own --attacks ATTACKS.yaml --examples 200 --seed 7"
    )
    pretrained = replace(results, network=Network(name="timm:resnet18", pretrained=True, classes=3))
    again = load_run(add_evaluation(tmp_path / "published", pretrained))
    assert "--model timm:resnet18 --pretrained --classes 3 --size 64" in commands([again], tmp_path / "page.html")[0]


def test_commands_say_that_the_attacks_were_not_the_recipes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["run"]["evaluation"]["attacks"]["pgd"]["init_args"]["steps"] = 41
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert "--attacks ATTACKS.yaml" in commands([load_run(folder)], tmp_path / "page.html")[1]


@pytest.mark.parametrize("is_default", [True, False])
def test_commands_give_what_else_decides_the_numbers(tmp_path: Path, is_default: bool) -> None:
    run = make_run(tmp_path / "run")
    methods = (CertificateMethod(name="beta-crown", certified=100, seconds=1.0),)
    write_record(run / "audit" / "results.json", replace(AUDIT, precision="float32" if is_default else "bfloat16"))
    certificate = replace(CERTIFICATE, methods=methods, branches=BRANCHES if is_default else 500)
    write_record(run / "certificate" / "results.json", certificate)
    certify, audit = commands([load_run(run)], tmp_path / "page.html")[2:4]
    assert ("--method beta-crown --branches 500 " in certify) == (not is_default)
    assert ("--budget 200 --precision bfloat16 " in audit) == (not is_default)


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
    folder = add_evaluation(tmp_path / "alone", replace(evaluation(), data=None, sources={}, checkpoint=None))
    (folder / "evaluation" / "test" / "ledger.npz").unlink()
    assert "68.5%" in page_of([folder], tmp_path)


def test_no_training_yet_no_epoch_and_non_finite_metrics(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "metrics.jsonl").write_text('{"step": 1, "epoch": 0.0, "loss": NaN}\n{"step": 2, "loss": 1}\n')
    assert "Loss and its terms" not in page_of([folder], tmp_path)


def test_all_evaluations_are_shown_and_test_comes_first(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    add_evaluation(folder, evaluation(99, name="longer"))
    run = load_run(folder)
    assert [results.name for results in run.evaluations] == ["test", "longer"]
    assert "Evaluation “longer”" in page_of([folder], tmp_path)


@pytest.mark.parametrize("made", [False, True])
def test_nothing_to_show_is_one_line_with_the_next_command(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "empty"
    if made:
        folder.mkdir()
    with pytest.raises(InputError, match=r"empty.*`logitpair (evaluate|train)") as caught:
        page_of([folder], tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"schema": 2}', '{"schema": 2, "kind": "sweep"}'])
@pytest.mark.parametrize("results", ["evaluation/test/results.json", "audit/results.json"])
def test_files_that_hold_no_results_are_refused_in_one_line(tmp_path: Path, text: str, results: str) -> None:
    folder = add_audit(make_run(tmp_path / "run"))
    (folder / results).write_text(text)
    command = "audit" if results.startswith("audit") else "evaluate"
    with pytest.raises(InputError, match=rf"results\.json.*logitpair {command}") as caught:
        page_of([folder], tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("results", ["evaluation/test/results.json", "audit/results.json"])
def test_results_of_another_version_are_left_out_with_a_warning(tmp_path: Path, results: str) -> None:
    folder = add_audit(make_run(tmp_path / "run"))
    (folder / results).write_text('{"schema": 1}')
    with pytest.warns(UserWarning, match=r"left out: .*schema 1, this one reads 2\); measure again"):
        run = load_run(folder)
    assert len(run.evaluations) == (0 if results.startswith("evaluation") else 1)
    assert (run.audit is None) == results.startswith("audit")


@pytest.mark.parametrize(
    "changes",
    [
        {"clean": {"top1": 3.0, "correct": 3, "total": 1, "ci95": [0, 1]}},
        {"white_box": {"top1": 0.5, "correct": 1, "total": 2, "ci95": [0, 1], "attack": "unknown"}},
        {"white_box": {"top1": 0.5, "correct": 1, "total": 2, "ci95": [0, 1], "attack": "pgd", "confusion": [[1, 2]]}},
        {"curve": [{"eps": 0.1}]},
        {"black_box": []},
        {"data": {"name": "pets", "split": "test", "class_names": ["cat"]}},
        {"published": [{"source": "S", "clean": 98.8}]},
    ],
)
def test_damaged_results_are_refused_in_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = make_run(tmp_path / "run")
    damage(folder / "evaluation" / "test" / "results.json", **changes)
    with pytest.raises(InputError, match=r"results\.json.*damaged.*logitpair evaluate") as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.yaml", "training.json", "evaluation/test/ledger.npz", "audit/ledger.npz"])
def test_other_damaged_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = add_audit(make_run(tmp_path / "run"))
    (folder / name).write_bytes(b"PK\x03\x04 [")
    with pytest.raises(InputError, match=re.escape(Path(name).name)):
        load_run(folder)


def test_the_settings_of_an_older_run_have_the_names_of_today(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "old")
    attacks = {"pgd": {"class_path": "logitpair.attacks.PGD", "init_args": {"stop_when_broken": True}}}
    settings = {"objective": {"class_path": "logitpair.objectives.Plain"}, "evaluation": {"attacks": attacks}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"recipe": "r", "run": settings}))
    settings = load_run(folder).settings
    assert settings["objective"] == {"class_path": "logitpair.objectives.StandardTraining"}
    assert settings["evaluation"]["attacks"]["pgd"]["init_args"] == {"early_stop": True}


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": "five"},
        {"model": [1]},
        {"data": {"init_args": 3}},
        {"evaluation": {"attacks": {"pgd": {"init_args": [1]}}}},
        {"fine_tuning": 3},
    ],
)
def test_settings_of_another_kind_are_refused_in_one_line(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "config.yaml").write_text(yaml.safe_dump({"recipe": "r", "run": settings}))
    with pytest.raises(InputError, match=r"config.yaml' is damaged \(.* at `\$\.run\."):
        load_run(folder)


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        write_report([], tmp_path / "page.html")


def test_numbers_as_people_read_them() -> None:
    assert [percent(f) for f in (0.0, 0.6555, 0.9999, 1.0)] == ["0.0%", "65.5%", "99.9%", "100.0%"]
    assert [radius(eps) for eps in (0.0, 0.3, 0.325, 8 / 255, 0.06)] == ["0", "0.3", "0.325", "8/255", "0.06"]
    assert [duration(s) for s in (7.81, 49, 300, 9000)] == ["7.8 s", "49 s", "5 min", "2.5 h"]
    assert call(ATTACK) == "PGD(threat=Linf(eps=0.2), step_size=0.02, steps=40)"
    assert settings_text({"root": "/home/me/data", "seed": 1}) == "root: …/data\nseed: 1\n"


def test_a_run_that_is_given_twice_is_shown_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "pets-alp")
    assert page_of([run, run / "." / ".." / run.name], tmp_path / "a").count("<h2") == page_of([run], tmp_path / "b").count("<h2")
    copy = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, copy)
    page_of([run, copy], tmp_path / "c")


@pytest.mark.parametrize(("weights", "shown"), [("same", "no image at eps 8/255"), ("other", "of other weights")])
def test_what_is_certified_stands_beside_its_radius_if_it_is_of_the_same_weights(tmp_path: Path, weights: str, shown: str) -> None:
    run = make_run(tmp_path / "pets-alp")
    of = load_run(run).main
    assert of
    threat = {"class_path": "logitpair.threat.Linf", "init_args": {"eps": 8 / 255}}
    record = replace(CERTIFICATE, threat=threat, weights=of.weights if weights == "same" else "f" * 64)
    Certificate(record, {"y": np.zeros(200, dtype=np.int64)}).save(run / "certificate")
    page = page_of([run], tmp_path)
    assert shown in page
    assert ("of other weights" in page) == (weights == "other")
    assert "--eps 8/255 --norm linf --method crown-ibp" in page


@pytest.mark.parametrize("same", [True, False])
def test_an_audit_of_another_network_than_the_evaluation_is_warned_of(tmp_path: Path, same: bool) -> None:
    run = make_run(tmp_path / "pets-alp")
    of = load_run(run).main
    assert of
    weights = of.weights if same else "f" * 64
    write_record(run / "audit" / "results.json", replace(AUDIT, checkpoint=of.checkpoint, weights=weights))
    with warnings.catch_warnings(action="error") if same else pytest.warns(UserWarning, match="'test' are of different networks$"):
        load_run(run)


@pytest.mark.parametrize(
    ("eps", "text"), [(0.1, "0.1"), (8 / 255, "8/255"), (0.12345, "0.12345"), (1 / 3, "85/255"), (0.03137294, "0.03137294")]
)
def test_a_radius_to_be_given_again_is_exact(eps: float, text: str) -> None:
    assert exact(eps) == text
    assert float(Fraction(text)) == eps


def test_values_of_a_sweep_that_differ_are_shown_so() -> None:
    values = {0.5: "0.5", 8 / 255: "8/255", 0.03125: "0.03125", 1.125: "1.125", 1024.0: "1024.0", 1.234e-6: "1.234e-06", math.inf: "inf"}
    assert {value: value_text(value) for value in values} == values
