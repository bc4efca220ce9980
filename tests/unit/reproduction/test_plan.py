"""Plans: which runs targets share, where sources come from, and what is left."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest
from handmade_results import ATTACK, AUDIT, EVALUATION, TRAINING, against, audit_of, evaluation_of, of_images
from msgspec.structs import replace

from logitpair.errors import InputError
from logitpair.reproduction.measurement import AUDITED, EXAMPLES
from logitpair.reproduction.paper import ALP, ENSEMBLE, MPGD, PLAIN, SMOOTHING, TARGETS
from logitpair.reproduction.plan import Plan
from logitpair.reproduction.planned_run import PlannedRun, recipe_of
from logitpair.reproduction.record_files import FILES, RECORDED, keep, keep_sweep
from logitpair.storage.result_files import read_record, write_record
from logitpair.storage.results import AuditResults, EvaluationResults, SourceRun, Training


def plan(out: Path, *targets: str, seeds: int = 1, scale: str = "smoke", data_dir: Path | None = None, records: Path | None = None) -> Plan:
    return Plan(targets=targets, scale=scale, seeds=seeds, out=out, data_dir=data_dir, records=records)


def paths(plan: Plan) -> list[str]:
    return [str(run.path(plan.scale)) for run in plan.runs]


def test_targets_share_their_runs(tmp_path: Path) -> None:
    alone = [set(paths(plan(tmp_path, name))) for name in ("table1", "table7", "figure1")]
    together = paths(plan(tmp_path, "table1", "table7", "figure1"))
    assert len(together) == len(set(together))
    assert set(together) == set.union(*alone)
    assert "mnist-mpgd/smoke/seed-0" in alone[0] & alone[1]
    assert "mnist-squeezing/smoke/objective.weight=0.5/seed-0" in alone[1] & alone[2]


@pytest.mark.parametrize(("seeds", "trained"), [(1, [0, 1]), (2, [0, 1]), (3, [0, 1, 2])])
def test_the_source_of_a_seed_is_another_seed_whatever_their_number(tmp_path: Path, seeds: int, trained: list[int]) -> None:
    of = plan(tmp_path, "table1", seeds=seeds)
    assert sorted(run.seed for run in of.runs if run.recipe == "mnist-alp") == trained
    assert all(wanted.sources == {run.recipe} for run, wanted in of.measurements.items())
    sources = {run.seed: run.black_box_source("mnist-alp").seed for run in of.measurements if run.recipe == "mnist-alp"}
    assert sources == {seed: {0: 1, 1: 0, 2: 1}[seed] for seed in range(seeds)}


def test_black_box_images_of_imagenet_come_from_three_networks_of_another_seed(tmp_path: Path) -> None:
    of = plan(tmp_path, "table4")
    for run, wanted in of.measurements.items():
        assert {run.black_box_source(recipe) for recipe in wanted.sources} == {PlannedRun(recipe, (), 1) for recipe in (PLAIN, MPGD, ALP)}
    assert paths(of)[:2] == [f"{PLAIN}/smoke/seed-0", f"{SMOOTHING}/smoke/seed-0"], "static sources of ensemble training come first"


@pytest.mark.parametrize("target", TARGETS)
def test_images_are_large_enough_for_the_sources_at_scale_smoke(tmp_path: Path, target: str) -> None:
    def size(recipe: str, part: str) -> int:
        return recipe_of(recipe).at_scale("smoke")[part].get("init_args", {}).get("size", 0)

    of = plan(tmp_path, target)
    needed = [(run.recipe, source) for run, wanted in of.measurements.items() for source in wanted.sources]
    needed += [(run.recipe, source.recipe) for run in of.runs for source in run.static_sources]
    assert all(size(recipe, "data") >= size(source, "model") for recipe, source in needed), "Inception v3 is made for one size"


def test_ensemble_training_waits_for_its_static_sources(tmp_path: Path) -> None:
    of = plan(tmp_path, "transfer")
    ensemble = f"{ENSEMBLE.recipe}/smoke/seed-0"
    assert not ready(of, ensemble)
    assert {steps[0].kind for steps in of.ready().values()} == {"train"}, "nothing is trained that could be measured"
    for recipe in (PLAIN, SMOOTHING):
        write_record(of.folder(PlannedRun(recipe, (), 0)) / FILES[Training], TRAINING)
    assert ready(of, ensemble) == ["train, audit"]
    (command,) = (step.command for step in of.steps() if step.kind == "train" and step.run.recipe == ENSEMBLE.recipe)
    (sources,) = (word for word in command if word.startswith("--objective.sources="))
    assert [str(tmp_path / "runs" / name / "smoke" / "seed-0") in sources for name in (PLAIN, SMOOTHING)] == [True, True]


def test_a_trainings_process_goes_on_with_what_needs_no_other_training(tmp_path: Path) -> None:
    of = plan(tmp_path, "table1")  # whose source is itself under another seed
    name, source = "mnist-alp/smoke/seed-0", PlannedRun("mnist-alp", (), 1)
    assert [step.kind for step in of.ready()[f"{name}: train, audit"]] == ["train", "audit"]
    write_record(of.folder(source) / FILES[Training], TRAINING)
    assert [step.kind for step in of.ready()[f"{name}: train, evaluate, audit"]] == ["train", "evaluate", "audit"]
    begun = {f"{name}: train", f"{name}: audit"}
    assert not ready(of, name, begun), "the training has not ended"
    write_record(of.folder(PlannedRun("mnist-alp", (), 0)) / FILES[Training], TRAINING)
    assert ready(of, name, begun) == ["evaluate"]


def test_an_audit_waits_for_its_run_and_an_evaluation_for_the_sources_too(tmp_path: Path) -> None:
    of = plan(tmp_path, "table1")
    name, source = "mnist-alp/smoke/seed-0", PlannedRun("mnist-alp", (), 1)
    write_record(of.folder(PlannedRun("mnist-alp", (), 0)) / FILES[Training], TRAINING)
    assert ready(of, name) == ["audit"]
    assert of.ready()[f"{name}: audit"][0].command[0] == "audit"
    write_record(of.folder(source) / FILES[Training], TRAINING)
    assert ready(of, name) == ["evaluate", "audit"]


def ready(plan: Plan, run: str, begun: Container[str] = ()) -> list[str]:
    """What each process of the run that can begin now would do."""
    return [name.removeprefix(f"{run}: ") for name in plan.ready(begun) if name.startswith(f"{run}: ")]


def finish(plan: Plan, run: PlannedRun, results: EvaluationResults | None = None) -> None:
    write_record(plan.folder(run) / FILES[Training], TRAINING)
    write_record(plan.folder(run) / FILES[EvaluationResults], results or evaluation_of(run.recipe, plan.scale))


def test_an_evaluation_without_a_source_is_done_again_with_those_that_it_had(tmp_path: Path) -> None:
    of = plan(tmp_path, "table1")
    run = PlannedRun("mnist-alp", (), 0)
    steps = {step.kind: step for step in of.steps() if step.run == run}
    assert [step.done for step in steps.values()] == [False, False, False]
    finish(of, run)
    steps = {step.kind: step for step in of.steps() if step.run == run}
    assert [step.done for step in steps.values()] == [True, False, False]
    command = steps["evaluate"].command
    assert f"mnist-alp={of.folder(PlannedRun('mnist-alp', (), 1))}" in command
    assert {f"{name}={source.run}" for name, source in EVALUATION.sources.items()} < set(command), "which no target trains"
    whole = against(run, "mnist-alp")
    finish(of, run, whole)
    assert [step.done for step in of.steps() if step.run == run] == [True, True, False]
    finish(of, run, replace(whole, attacks={}, white_box=None))
    assert [step.done for step in of.steps() if step.run == run] == [True, False, False], "an attack is missing"
    finish(of, run, replace(whole, training=None))
    assert [step.done for step in of.steps() if step.run == run] == [True, False, False], "it was of a training on its way"
    more = replace(whole, attacks={**whole.attacks, "more": ATTACK})
    finish(of, run, more)
    assert [step.done for step in of.steps() if step.run == run] == [True, False, False], "an attack more may leave less"
    (suite,) = whole.black_box.values()
    finish(of, run, replace(whole, black_box={"mnist-alp": replace(suite, attacks={"pgd": ATTACK})}))
    assert [step.done for step in of.steps() if step.run == run] == [True, False, False], "other attacks made the images"
    finish(of, run, replace(whole, sources={"mnist-alp": SourceRun(run="mnist-alp/smoke/seed-0", step=5)}))
    assert [step.done for step in of.steps() if step.run == run] == [True, False, False], "the images are of the network itself"


@pytest.mark.parametrize(("there", "evaluated", "audited"), [(10_000, 10_000, 1_000), (200, 200, 200)])
def test_results_of_too_few_images_count_as_none(tmp_path: Path, there: int, evaluated: int, audited: int) -> None:
    of = plan(tmp_path, "table1", scale="cpu")
    run = PlannedRun("mnist-alp", (), 0)
    evaluation = replace(against(run, "mnist-alp", scale="cpu"), test_images=there)
    for fewer, done in ((1, False), (0, True)):
        finish(of, run, of_images(evaluated - fewer, evaluation))
        audit = replace(audit_of("mnist-alp", "cpu"), test_images=there)
        write_record(of.folder(run) / FILES[AuditResults], of_images(audited - fewer, audit))
        assert [step.done for step in of.steps() if step.run == run] == [True, done, done]


def test_times_are_those_of_like_runs(tmp_path: Path) -> None:
    of = plan(tmp_path, "table1")
    finish(of, PlannedRun("mnist-alp", (), 7))
    left = {(step.run.recipe, step.kind): of.seconds(step) for step in of.steps() if step.run.seed == 0}
    assert left["mnist-alp", "train"] == TRAINING.seconds
    assert left["mnist-alp", "evaluate"] == EVALUATION.wall_time_seconds
    assert left["mnist-alp", "audit"] is None
    assert left["mnist-mpgd", "train"] is None


def recording(tmp_path: Path, *targets: str, seeds: int = 1) -> Plan:
    """A plan that is made of what is recorded by now."""
    return plan(tmp_path / "out", *targets, seeds=seeds, records=tmp_path / "records")


def record(tmp_path: Path, run: PlannedRun, records: str = "records", **changes: Any) -> Path:
    """Keep an evaluation with black-box images of the run's own recipe, and an audit, that were made in another folder; returns its own."""
    elsewhere, folder = tmp_path / "elsewhere" / run.path("smoke"), tmp_path / records / run.path("smoke")
    shared = {"recipe": run.recipe, "scale": "smoke", **changes}
    write_record(elsewhere / FILES[EvaluationResults], replace(against(run, run.recipe), **shared))
    write_record(elsewhere / FILES[AuditResults], replace(audit_of(run.recipe), **shared))
    keep(elsewhere, folder)
    return folder


def test_of_a_recorded_run_nothing_is_left_but_to_train_it_as_a_source(tmp_path: Path) -> None:
    first, second, here = PlannedRun("mnist-alp", (), 0), PlannedRun("mnist-alp", (), 1), recording(tmp_path, "table1")

    def left(seeds: int) -> set[str]:
        return {step.name("smoke") for step in recording(tmp_path, "table1", seeds=seeds).steps() if step.run.recipe == "mnist-alp"}

    assert len(left(1)) == 4, "three steps, and a source to train"
    record(tmp_path, first)
    assert left(1) == set()
    assert left(2) == {*(f"mnist-alp/smoke/seed-1: {kind}" for kind in ("train", "evaluate", "audit")), "mnist-alp/smoke/seed-0: train"}
    finish(here, second)
    write_record(here.folder(first) / FILES[Training], TRAINING)
    assert left(1) == set(), "what was trained as a source is still recorded"
    finish(here, first, against(first, "mnist-alp"))
    assert len(left(1)) == 4, "what is measured in its run directory is newer than the record"


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (EvaluationResults, {"training": replace(TRAINING, seconds=1.0)}),
        (EvaluationResults, {"recipe": "mnist-mpgd"}),
        (EvaluationResults, {"checkpoint": "best"}),
        (EvaluationResults, {"weights": "of another network"}),
        (AuditResults, {"training": replace(TRAINING, seconds=1.0)}),
        (AuditResults, {"checkpoint": "best"}),
        (AuditResults, {"weights": "of another network"}),
        (AuditResults, {"budget": 1.0}),
        (AuditResults, {"threat": AUDIT.threat}),
        (AuditResults, {"reference": AUDIT.reference}),
    ],
)
def test_what_a_user_measured_of_something_else_in_a_run_directory_is_measured_again(
    tmp_path: Path, kind: type[EvaluationResults | AuditResults], changes: dict[str, Any]
) -> None:
    of, run = plan(tmp_path, "table1"), PlannedRun("mnist-alp", (), 0)
    whole: dict[type[EvaluationResults | AuditResults], Any] = {
        EvaluationResults: against(run, "mnist-alp"),
        AuditResults: audit_of("mnist-alp"),
    }
    for results in whole.values():
        write_record(of.folder(run) / FILES[type(results)], results)
    write_record(of.folder(run) / FILES[Training], TRAINING)
    assert [step.done for step in of.steps() if step.run == run] == [True, True, True]
    write_record(of.folder(run) / FILES[Training], replace(TRAINING, seconds=1.0))
    assert [step.done for step in of.steps() if step.run == run] == [True, False, False], "it was trained anew"
    write_record(of.folder(run) / FILES[Training], TRAINING)
    write_record(of.folder(run) / FILES[kind], replace(whole[kind], **changes))
    assert not all(step.done for step in of.steps() if step.run == run)


def test_an_evaluation_under_other_attacks_of_the_same_names_counts_as_none(tmp_path: Path) -> None:
    run = PlannedRun("mnist-alp", (), 0)
    path = record(tmp_path, run) / RECORDED[EvaluationResults]
    own = read_record(path, EvaluationResults, "test")
    shown_in_full = {name: replace(attack, parameters=stopping(attack.parameters)) for name, attack in own.attacks.items()}
    write_record(path, replace(own, attacks=shown_in_full))
    assert recording(tmp_path, "table1").recorded == [run], "whether it stops early is no other attack"
    write_record(path, replace(own, attacks={"pgd": ATTACK}))
    assert recording(tmp_path, "table1").recorded == []


def stopping(parameters: Any) -> Any:
    return {**parameters, "init_args": {**parameters["init_args"], "early_stop": not parameters["init_args"]["early_stop"]}}


@pytest.mark.parametrize("examples", [200, 10_000])
def test_an_evaluation_that_does_not_tell_how_many_images_there_are_counts_as_none(tmp_path: Path, examples: int) -> None:
    of, run = plan(tmp_path, "table1", scale="cpu"), PlannedRun("mnist-alp", (), 0)
    whole = of_images(examples, against(run, "mnist-alp", scale="cpu"))
    for test_images, done in ((examples, True), (None, False)):
        finish(of, run, replace(whole, test_images=test_images))
        assert [step.done for step in of.steps() if step.run == run] == [True, done, False]


def test_without_a_folder_of_records_nothing_counts_as_recorded(tmp_path: Path) -> None:
    record(tmp_path, PlannedRun("mnist-alp", (), 0), "out/results")
    assert plan(tmp_path / "out", "table1").recorded == []


@pytest.mark.parametrize("kind", [EvaluationResults, AuditResults])
@pytest.mark.parametrize("changes", [{"training": None}, {"recipe": "mnist-mpgd"}, {"scale": "cpu"}, {"examples": -1}])
def test_what_is_recorded_of_something_else_counts_as_nothing(
    tmp_path: Path, changes: dict[str, Any], kind: type[EvaluationResults | AuditResults]
) -> None:
    run = PlannedRun("mnist-alp", (), 0)
    path, enough = record(tmp_path, run) / RECORDED[kind], {EvaluationResults: EXAMPLES, AuditResults: AUDITED}[kind]["smoke"]
    whole, other = read_record(path, kind, "test"), {**changes}
    write_record(path, of_images(enough + other.pop("examples", 0), replace(whole, **other)))
    assert recording(tmp_path, "table1").recorded == []
    write_record(path, of_images(enough, whole))
    assert recording(tmp_path, "table1").recorded == [run]


def test_a_part_in_a_run_directory_takes_no_place_of_a_record(tmp_path: Path) -> None:
    run, here = PlannedRun("mnist-alp", (), 0), plan(tmp_path / "out", "table1")
    record(tmp_path, run)
    finish(here, run, of_images(EXAMPLES["smoke"] - 1, against(run, run.recipe)))
    assert recording(tmp_path, "table1").recorded == [run]
    finish(here, run, against(run, run.recipe))
    assert recording(tmp_path, "table1").recorded == []


def test_a_record_that_says_more_than_the_run_directory_stays(tmp_path: Path) -> None:
    run = PlannedRun("mnist-mpgd", (), 0)
    record(tmp_path, run)
    finish(plan(tmp_path / "out", "vat"), run, replace(against(run), black_box={}, sources={}))
    assert run in recording(tmp_path, "vat").recorded, "it has black-box images for other tables"
    path = tmp_path / "records" / run.path("smoke") / RECORDED[EvaluationResults]
    write_record(path, replace(read_record(path, EvaluationResults, "test"), test_images=None, training=None))
    with pytest.raises(
        InputError, match=r"has images from mnist-mpgd, which a new evaluation would be without; name the .* or move it away$"
    ):
        recording(tmp_path, "vat")
    finish(plan(tmp_path / "out", "vat"), run, against(run, "mnist-mpgd"))
    assert run not in recording(tmp_path, "vat").recorded, "the run directory has those images, and a new evaluation would too"


def test_an_audit_of_another_training_counts_as_none(tmp_path: Path) -> None:
    run = PlannedRun("mnist-alp", (), 0)
    audit = record(tmp_path, run) / RECORDED[AuditResults]
    write_record(audit, replace(read_record(audit, AuditResults, "test"), training=replace(TRAINING, seconds=1.0)))
    left = {step.kind for step in recording(tmp_path, "table1").steps() if step.run == run}
    assert left == {"train", "evaluate", "audit"}, "for it is another network"
    audit.unlink()
    assert recording(tmp_path, "table1").recorded == []


def test_a_recorded_run_of_a_figure_is_in_its_sweep(tmp_path: Path) -> None:
    run = PlannedRun("mnist-clp", (("objective.weight", "0.5"),), 0)
    recorded = record(tmp_path, run) / RECORDED[EvaluationResults]
    of_a_table = read_record(recorded, EvaluationResults, "test")
    of_a_figure = replace(of_a_table, black_box={}, sources={})
    write_record(recorded, of_a_figure)
    assert recording(tmp_path, "figure1").recorded == [], "the curve could not be drawn"
    elsewhere = tmp_path / "elsewhere"
    write_record(elsewhere / run.path("smoke") / FILES[Training], TRAINING)
    (elsewhere / run.path("smoke") / "metrics.jsonl").write_text('{"step": 1, "validation_clean": 0.9, "validation_white_box": 0.5}\n')
    write_record(elsewhere / run.path("smoke") / FILES[EvaluationResults], of_a_figure)
    keep_sweep([run], "smoke", elsewhere, tmp_path / "records")
    assert recording(tmp_path, "figure1").recorded == [run]
    write_record(recorded, replace(of_a_figure, created="2026-01-01T00:00:00+00:00"))
    assert recording(tmp_path, "figure1").recorded == [], "the sweep is of another evaluation"
    write_record(recorded, replace(of_a_table, created="2026-01-01T00:00:00+00:00"))
    with pytest.raises(InputError, match=r"has images from mnist-clp, which a new evaluation would be without; name the tables"):
        recording(tmp_path, "figure1")
    write_record(recorded, of_a_figure)
    (tmp_path / "records" / "mnist-clp" / "smoke" / "sweep.json").write_text("{")
    with pytest.raises(InputError, match=r"^'.*sweep.json' is damaged"):
        recording(tmp_path, "figure1")


def test_times_are_those_of_recorded_runs_where_none_is_here(tmp_path: Path) -> None:
    def left() -> dict[str, float | None]:
        of = recording(tmp_path, "table1", seeds=2)
        return {step.kind: of.seconds(step) for step in of.steps() if step.run == PlannedRun("mnist-alp", (), 1)}

    record(tmp_path, PlannedRun("mnist-alp", (), 0))
    assert left() == {"train": TRAINING.seconds, "evaluate": EVALUATION.wall_time_seconds, "audit": AUDIT.wall_time_seconds}
    write_record(recording(tmp_path, "table1").folder(PlannedRun("mnist-alp", (), 7)) / FILES[Training], replace(TRAINING, seconds=1.0))
    assert left() == {"train": 1.0, "evaluate": EVALUATION.wall_time_seconds, "audit": AUDIT.wall_time_seconds}


def test_the_data_of_each_recipe_are_found_in_a_folder_of_several(tmp_path: Path) -> None:
    for name in ("mnist", "tiny-imagenet-20", "imagenette"):
        (tmp_path / name).mkdir()
    assert plan(tmp_path, "table1", data_dir=tmp_path).data_folder("mnist-alp") == tmp_path / "mnist"
    assert plan(tmp_path, "table3", data_dir=tmp_path).data_folder(ALP) == tmp_path / "imagenette"
    with pytest.raises(InputError, match="no imagenet for"):  # ten classes are no ImageNet
        plan(tmp_path, "table3", scale="paper", data_dir=tmp_path).data_folder(ALP)
    assert plan(tmp_path, "table3", scale="cpu", data_dir=tmp_path).data_folder(ALP) == tmp_path / "tiny-imagenet-20"
    assert plan(tmp_path, "table1", data_dir=tmp_path / "mnist").data_folder("mnist-alp") == tmp_path / "mnist", "the folder itself"
    with pytest.raises(InputError, match=r"^--data-dir: '.*' holds mnist, tiny-imagenet-20, and no svhn for svhn-alp$"):
        plan(tmp_path, "table2", data_dir=tmp_path).data_folder("svhn-alp")
    assert plan(tmp_path, "table1").data_folder("mnist-alp") is None


def test_a_scale_that_a_recipe_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--scale: recipe svhn-mpgd has no scale 'cpu'"):
        plan(tmp_path, "table2", scale="cpu")
