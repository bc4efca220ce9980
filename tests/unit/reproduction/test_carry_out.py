"""Carrying a plan out: every step once, progress by what is done, and what a failure leaves to the others."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from handmade_results import TRAINING, against, audit_of, of_images
from msgspec.structs import replace

from logitpair.config import parsing
from logitpair.errors import InputError
from logitpair.reproduction.carry_out import _only_moved, carry_out, prepare
from logitpair.reproduction.paper import Row, Target
from logitpair.reproduction.plan import Plan
from logitpair.reproduction.planned_run import PlannedRun, recipe_of
from logitpair.reproduction.record_files import FILES
from logitpair.runs import run_directory
from logitpair.storage import checkpoint
from logitpair.storage.result_files import write_record
from logitpair.storage.results import AuditResults, EvaluationResults, Training
from logitpair.sweeps.runner import Commands, Outcome

CPU = torch.device("cpu")
PLAIN, ENSEMBLE = "digits-plain/smoke/seed-0", "digits-ensemble/smoke/seed-0"  # of which the first is a static source of the second
TABLE = Target(title="A table", columns=("white_box",), rows=(Row("plain", "digits-plain"), Row("ensemble", "digits-ensemble")))


@pytest.fixture
def of(tmp_path: Path) -> Plan:
    return Plan(targets=["table"], scale="smoke", seeds=1, out=tmp_path, known={"table": TABLE})


def carried_out(of: Plan, monkeypatch: pytest.MonkeyPatch, failing: str = "") -> tuple[list[str], dict[str, str]]:
    """The commands in the order in which one process after another gives them, each as ``kind run``, and what failed."""
    order: list[str] = []

    def carried(command: Sequence[str]) -> bool:
        kind, run = command[0], Path(command[-1] if command[0] != "train" else next(w for w in command if w.startswith("--out="))[6:])
        order.append(f"{kind} {run.relative_to(of.out / 'runs')}")
        if order[-1] == failing:
            return False
        sources = [word.partition("=")[0] for word in command if word.startswith("digits-")]
        record = {
            "train": (Training, TRAINING),
            "evaluate": (EvaluationResults, against(PlannedRun(run.parents[1].name, (), 0), *sources)),
            "audit": (AuditResults, audit_of(run.parents[1].name)),
        }[kind]
        write_record(run / FILES[record[0]], record[1])
        return True

    def run_all(
        runs: Mapping[str, Commands], *_: object, then: Callable[[], Mapping[str, Commands]], begin: Callable[[str], None]
    ) -> Generator[tuple[str, Outcome]]:
        waiting = dict(runs)
        while waiting:
            name = next(iter(waiting))
            assert len(order) <= 2 * len(of.steps()), "steps are begun again and again"
            begin(name)
            yield name, Outcome(0 if all(carried(command) for command in waiting.pop(name)) else 3, "why")
            waiting |= then()

    monkeypatch.setattr("logitpair.reproduction.carry_out.run_all", run_all)
    return order, carry_out(of, jobs=1, device=torch.device("cpu"))


def test_every_step_is_done_once_and_a_source_is_trained_alone(of: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name for name in of.ready() if name.startswith(PLAIN)] == [f"{PLAIN}: train"], "what waits for it waits for nothing else"
    order, failed = carried_out(of, monkeypatch)
    assert failed == of.left() == {}
    assert len(order) == len(set(order)) == len(of.steps())


def test_an_audit_is_done_though_the_evaluation_before_it_failed(of: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    order, failed = carried_out(of, monkeypatch, failing=f"evaluate {ENSEMBLE}")
    assert failed == {f"{ENSEMBLE}: evaluate": "why"}
    assert list(of.left()) == [f"{ENSEMBLE}: evaluate"]
    assert len(order) == len(set(order)) == len(of.steps()), "what failed is not tried twice"


def test_what_needs_a_training_that_failed_is_left_out(of: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    order, failed = carried_out(of, monkeypatch, failing=f"train {PLAIN}")
    assert failed == {f"{PLAIN}: train": "why"}
    assert not [step for step in order if ENSEMBLE in step or step in (f"evaluate {PLAIN}", f"audit {PLAIN}")]


def test_progress_is_what_is_done(of: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    monkeypatch.setattr("logitpair.runtime.progress.Progress.update", lambda bar, done, note=None: shown.append(done))
    carried_out(of, monkeypatch, failing=f"evaluate {ENSEMBLE}")
    assert shown == sorted(shown)
    assert shown[-1] == len(of.steps()) - 1


def begun(plan: Plan, run: PlannedRun, settings: parsing.Settings) -> Path:
    """A run directory as if it had been trained; returns its config."""
    folder = plan.folder(run)
    run_directory.prepare(folder, run.recipe, plan.scale, run_directory.as_trained(settings, CPU))
    checkpoint.path_of(folder).parent.mkdir(exist_ok=True)
    checkpoint.path_of(folder).touch()
    write_record(folder / FILES[Training], TRAINING)
    return folder / "config.yaml"


def test_what_is_trained_is_left_as_it_is_and_must_have_the_same_settings(tmp_path: Path) -> None:
    of = Plan(targets=["table"], scale="smoke", seeds=1, out=tmp_path / "out", known={"table": TABLE})
    run = next(run for run in of.runs if run.recipe == "digits-ensemble")
    at_scale = recipe_of(run.recipe).at_scale("smoke")
    elsewhere = dataclasses.replace(of, out=tmp_path / "moved-since")
    config = begun(of, run, parsing.resolve(at_scale, elsewhere.overrides(run)))  # static sources that lie elsewhere now
    before = config.read_bytes()
    prepare(of, CPU)
    assert config.read_bytes() == before
    assert all((of.folder(run) / "config.yaml").exists() for run in of.runs)
    shutil.rmtree(config.parent)
    begun(of, run, parsing.resolve(at_scale, [*of.overrides(run), "--evaluation.batch_size=7"]))  # which no number depends on
    prepare(of, CPU)
    shutil.rmtree(config.parent)
    begun(of, run, parsing.resolve(at_scale, [*of.overrides(run), "--optimizer.lr=0.5"]))
    with pytest.raises(InputError, match=r"was begun with optimizer\..*lr = 0.5"):
        prepare(of, CPU)


def test_static_sources_may_be_elsewhere_but_no_others(tmp_path: Path) -> None:
    of = Plan(targets=["table"], scale="smoke", seeds=1, out=tmp_path / "out", known={"table": TABLE})
    run = PlannedRun("digits-ensemble", (), 0)
    (overrides,) = (word for word in of.overrides(run) if word.startswith("--objective.sources"))
    at_scale = recipe_of(run.recipe).at_scale("smoke")
    for changed, refused in ((("/out/", "/moved-since/"), False), (("seed-0", "seed-9"), True), (("digits-plain", "digits-alp"), True)):
        config = begun(of, run, parsing.resolve(at_scale, [*of.overrides(run), overrides.replace(*changed)]))
        (config.parent / FILES[Training]).unlink()  # so that its config may be written anew
        with pytest.raises(InputError, match=r"was begun with objective\.init_args\.sources") if refused else nullcontext():
            prepare(of, CPU)
        shutil.rmtree(config.parent)


@pytest.mark.parametrize(
    "begun_with",
    ['--objective.sources=[{"class_path": "logitpair.models.SmallConvNet"}]', "--objective=logitpair.objectives.StandardTraining"],
)
def test_sources_that_are_no_runs_are_others(tmp_path: Path, begun_with: str) -> None:
    of = Plan(targets=["table"], scale="smoke", seeds=1, out=tmp_path / "out", known={"table": TABLE})
    run = PlannedRun("digits-ensemble", (), 0)
    begun(of, run, parsing.resolve(recipe_of(run.recipe).at_scale("smoke"), [f"--seed={run.seed}", begun_with]))
    with pytest.raises(InputError, match=r"was begun with objective"):
        prepare(of, CPU)


@pytest.mark.parametrize("sources", [None, 3, ["a run"], [{"init_args": {}}]])
def test_sources_of_another_shape_are_others(sources: object) -> None:
    assert not _only_moved("objective.init_args.sources", sources, [])


@pytest.mark.parametrize(
    "case", ["another attack", "another checkpoint", "more images", "a source that is gone", "another ball", "as wanted"]
)
def test_results_that_would_not_be_written_over_are_refused_before_the_first_training(tmp_path: Path, case: str) -> None:
    of = Plan(targets=["table"], scale="smoke", seeds=1, out=tmp_path / "out", known={"table": TABLE})
    run = PlannedRun("digits-plain", (), 0)
    begun(of, run, parsing.resolve(recipe_of(run.recipe).at_scale("smoke"), of.overrides(run)))
    evaluation, audit = of_images(8, against(run, "digits-alp")), of_images(4, audit_of(run.recipe))
    gone = tmp_path / "gone"
    sources = {name: replace(source, run=str(gone)) for name, source in evaluation.sources.items()}
    wanted = replace(evaluation, sources=sources, training=None)  # of a training that was not done then
    more = wanted.attacks | {"fgsm": next(iter(wanted.attacks.values()))}
    results, said = {
        "another attack": (replace(wanted, attacks=more), r"is under other attacks \(fgsm\), unlike"),
        "another checkpoint": (replace(wanted, checkpoint="best"), "is of the checkpoint best, unlike the tables'"),
        "more images": (of_images(200, replace(wanted, checkpoint="best")), "is of the checkpoint best and of 200 images for 8, unlike"),
        "a source that is gone": (wanted, "has images from digits-alp, and its network is not at"),
        "another ball": (replace(audit, training=None, threat=audit.threat | {"init_args": {"eps": 0.9}}), "is in another ball, unlike"),
        "as wanted": (wanted, None),
    }[case]
    write_record(of.folder(run) / FILES[type(results)], results)
    if case == "as wanted":
        gone.mkdir()
    with pytest.raises(InputError, match=rf"^--out: '.*results.json' {said}") if said else nullcontext():
        prepare(of, CPU)
    assert of.folder(PlannedRun("digits-ensemble", (), 0)).exists() == (said is None)


@pytest.mark.parametrize("kind", [Training, EvaluationResults, AuditResults])
def test_damaged_results_are_refused_before_the_first_training(
    tmp_path: Path, kind: type[Training | EvaluationResults | AuditResults]
) -> None:
    of = Plan(targets=["table"], scale="smoke", seeds=1, out=tmp_path / "out", known={"table": TABLE})
    path = of.folder(PlannedRun("digits-plain", (), 0)) / FILES[kind]
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 2}')
    with pytest.raises(InputError, match=rf"^--out: '{path}' is damaged .*; move it away, and the same command does it again$"):
        prepare(of, CPU)
    assert [file for file in of.out.rglob("*") if file.is_file()] == [path]


def test_a_training_json_that_a_crash_cut_is_left_to_train(tmp_path: Path) -> None:
    of = Plan(targets=["table"], scale="smoke", seeds=1, out=tmp_path / "out", known={"table": TABLE})
    run = PlannedRun("digits-plain", (), 0)
    config = begun(of, run, parsing.resolve(recipe_of(run.recipe).at_scale("smoke"), of.overrides(run)))
    (config.parent / FILES[Training]).write_text("{")
    prepare(of, CPU)
    assert f"{PLAIN}: train" in of.left()


@pytest.mark.parametrize("part", ["train", "test"])
def test_images_are_looked_at_before_the_first_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def missing(_: object) -> None:
        raise InputError("--data-dir: no images")

    monkeypatch.setattr(f"logitpair.data.Digits.{part}", missing)
    of = Plan(targets=["table"], scale="smoke", seeds=1, out=tmp_path / "out", known={"table": TABLE})
    with pytest.raises(InputError, match="no images"):
        prepare(of, CPU)
    assert not of.out.exists()
