"""From targets to runs: what has to be trained, evaluated and audited, each once and by the command that a user would type."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from logitpair.errors import InputError
from logitpair.reproduction.measurement import AUDIT_BUDGET, AUDITED, EXAMPLES, Measurement, is_of_one_network
from logitpair.reproduction.paper import TARGETS, Target
from logitpair.reproduction.planned_run import PlannedRun, recipe_of
from logitpair.reproduction.record_files import RECORDED, in_records, in_run_directory, recorded_sweep
from logitpair.storage.result_files import read_whole
from logitpair.storage.results import AuditResults, EvaluationResults, Results, Training

FOLDERS = {  # of a data set, in a folder of several
    "MNIST": ("mnist",),
    "SVHN": ("svhn",),
    "ImageNet": ("imagenet",),
    "TinyImageNet": ("tiny-imagenet-20",),
}
STAND_IN = {"smoke": {"ImageNet": ("imagenette",)}}  # ten classes do where numbers mean nothing
RECORD_OF: dict[str, type[Training | EvaluationResults | AuditResults]] = {  # what each kind of step leaves
    "train": Training,
    "evaluate": EvaluationResults,
    "audit": AuditResults,
}


@dataclass(frozen=True)
class Step:
    """A training, an evaluation or an audit of a run."""

    run: PlannedRun
    kind: str  # train, evaluate or audit
    command: list[str]
    done: bool

    def name(self, scale: str) -> str:
        """What it is called among all steps."""
        return f"{self.run.path(scale)}: {self.kind}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that the targets need.

    Args:
        targets: names of ``paper.TARGETS``.
        scale: of every recipe.
        seeds: how many, from 0 on.
        out: the run directories go to ``out/runs``.
        records: a folder of what is recorded of runs, of which nothing is done again; by default all is done, and recorded in
            ``out/results``.
        data_dir: the folder of the data set, or of several by their names in ``FOLDERS``.
        device: to work on.

    Raises:
        InputError: for a scale that a recipe does not have, and records of these runs that cannot be read.
    """

    targets: Sequence[str]
    scale: str
    seeds: int
    out: Path
    records: Path | None = None
    data_dir: Path | None = None
    device: str = "auto"
    known: Mapping[str, Target] = field(default_factory=lambda: TARGETS)

    def __post_init__(self) -> None:
        for run in self.runs:
            recipe_of(run.recipe).at_scale(self.scale)

    @cached_property
    def measurements(self) -> dict[PlannedRun, Measurement]:
        """What is measured, by run."""
        found: dict[PlannedRun, Measurement] = {}
        for target, seed in itertools.product([self.known[name] for name in self.targets], range(self.seeds)):
            for row in target.rows:
                run = PlannedRun.of(row, seed)
                one = Measurement.of(target, row, run, self.scale)
                wanted = found.setdefault(run, one)
                wanted.sources |= one.sources
                wanted.audited |= one.audited
                wanted.swept |= one.swept
        return found

    @cached_property
    def recorded(self) -> list[PlannedRun]:
        """The runs whose measurements are all in ``records``, and none is in a run directory: of these nothing is left to do."""
        if not self.records:
            return []
        recipes = sorted({run.recipe for run, wanted in self.measurements.items() if wanted.swept})
        sweeps = filter(None, (recorded_sweep(self.records / recipe / self.scale) for recipe in recipes))
        swept = {run.evaluated for sweep in sweeps for run in sweep.runs}
        return [run for run, wanted in self.measurements.items() if self._is_recorded(run, wanted, swept)]

    def _is_recorded(self, run: PlannedRun, wanted: Measurement, swept: Container[str | None]) -> bool:
        here, audited_here = in_run_directory(self.folder(run), EvaluationResults), in_run_directory(self.folder(run), AuditResults)
        folder = self.records_folder / run.path(self.scale)
        evaluation, audit = in_records(folder, EvaluationResults), in_records(folder, AuditResults)
        if not evaluation:
            return False
        begun = wanted.is_in(here) if here else audited_here is not None and wanted.is_judged_by(audited_here)
        judged = not wanted.audited or bool(audit and is_of_one_network(evaluation, audit) and wanted.is_judged_by(audit))
        drawn = not wanted.swept or evaluation.created in swept
        has_more = here is not None and not evaluation.black_box.keys() <= here.black_box.keys()
        if wanted.is_in(evaluation) and judged and drawn and (not begun or has_more):
            return True
        if lost := sorted(evaluation.black_box.keys() - wanted.sources - (here.sources.keys() if here else set[str]())):
            without = f"'{folder}' has images from {', '.join(lost)}, which a new evaluation would be without"
            raise InputError(f"{without}; name the tables that want them too, or move it away")
        return False

    @cached_property
    def to_measure(self) -> dict[PlannedRun, Measurement]:
        """What is measured of those that are not recorded."""
        return {run: wanted for run, wanted in self.measurements.items() if run not in self.recorded}

    @cached_property
    def runs(self) -> list[PlannedRun]:
        """What is trained: static sources first, then what is measured and the sources of black-box images."""
        measured = self.to_measure
        runs = [*measured, *(run.black_box_source(recipe) for run, wanted in measured.items() for recipe in sorted(wanted.sources))]
        return list(dict.fromkeys([*(source for run in runs for source in run.static_sources), *runs]))

    def folder(self, run: PlannedRun) -> Path:
        """The run directory."""
        return self.out / "runs" / run.path(self.scale)

    @property
    def records_folder(self) -> Path:
        """The folder that all records lie in."""
        return self.records or self.out / "results"

    def steps(self) -> list[Step]:
        """Every training, evaluation and audit, the finished ones too, but none of the recorded runs."""
        return [step for run in self.runs for step in self._steps(run, self.to_measure.get(run))]

    def _steps(self, run: PlannedRun, wanted: Measurement | None) -> Iterator[Step]:
        folder = self.folder(run)
        trained = in_run_directory(folder, Training)
        yield Step(run, "train", self._train(run), trained is not None)
        if wanted is None:
            return
        evaluation, audit = in_run_directory(folder, EvaluationResults), in_run_directory(folder, AuditResults)
        evaluated = bool(evaluation and evaluation.training == trained and wanted.is_in(evaluation) and wanted.is_from_sources(evaluation))
        yield Step(run, "evaluate", self._evaluate(run, wanted, evaluation), evaluated)
        if wanted.audited:
            of_one = not (evaluated and evaluation and audit) or is_of_one_network(evaluation, audit)
            done = bool(audit and audit.training == trained and wanted.is_judged_by(audit) and of_one)
            yield Step(run, "audit", self._audit(run, wanted), done)

    def ready(self, begun: Container[str] = ()) -> dict[str, list[Step]]:
        """What is left and can begin now, but no step of those ``begun``, by the name of each process that does it.

        The process of a training that no other run waits for goes on with what needs nothing else; all else has a process of its own.
        """
        left = self.left()
        missing = {name: {run for run in self._needs(step) if not self._trained(run)} for name, step in left.items()}
        awaited = {run for name, step in left.items() for run in missing[name] - {step.run}}
        new = {name: step for name, step in left.items() if name not in begun}
        found: list[list[Step]] = []
        for step in (step for name, step in new.items() if not missing[name]):
            goes_on = step.kind == "train" and step.run not in awaited
            found.append([step, *(each for name, each in new.items() if goes_on and missing[name] == {each.run} == {step.run})])
        return {f"{steps[0].run.path(self.scale)}: {', '.join(step.kind for step in steps)}": steps for steps in found}

    def left(self) -> dict[str, Step]:
        """The steps that are not done, by name."""
        return {step.name(self.scale): step for step in self.steps() if not step.done}

    def _needs(self, step: Step) -> list[PlannedRun]:
        """The runs that have to be trained before the step."""
        if step.kind == "train":
            return step.run.static_sources
        sources = self.measurements[step.run].sources if step.kind == "evaluate" else ()
        return [step.run, *(step.run.black_box_source(recipe) for recipe in sources)]

    def _trained(self, run: PlannedRun) -> bool:
        return in_run_directory(self.folder(run), Training) is not None

    def _train(self, run: PlannedRun) -> list[str]:
        return ["train", run.recipe, "--scale", self.scale, *self._common(run), f"--out={self.folder(run)}", *self.overrides(run)]

    def overrides(self, run: PlannedRun) -> list[str]:
        """What the run changes about its recipe."""
        settings = {"seed": str(run.seed), **dict(run.settings)}
        networks = [str(self.folder(source)) for source in run.static_sources]
        if networks:
            sources = [{"class_path": "logitpair.runs.TrainedRun", "init_args": {"run": network}} for network in networks]
            settings["objective.sources"] = json.dumps(sources)
        return [f"--{setting}={value}" for setting, value in settings.items()]

    def _evaluate(self, run: PlannedRun, wanted: Measurement, before: EvaluationResults | None) -> list[str]:
        """Also with the sources that an evaluation ``before`` had, which would otherwise refuse to be written over."""
        sources = self.sources_before(run, before) if before else {}
        sources |= {recipe: self.folder(run.black_box_source(recipe)) for recipe in sorted(wanted.sources)}
        tried = [word for name, path in sources.items() for word in ("--source", f"{name}={path}")]
        limit = _option("examples", EXAMPLES.get(self.scale))
        return ["evaluate", *self._common(run), *_option("attacks", wanted.attacks), *limit, *tried, "--", str(self.folder(run))]

    def sources_before(self, run: PlannedRun, before: Results) -> dict[str, Path]:
        """Where the sources of earlier results lie, by name: those of the plan's kind may have been moved with them."""
        ours = {name: run.black_box_source(name) for name in before.sources}
        return {name: self.folder(ours[name]) if self._trained(ours[name]) else Path(old.run) for name, old in before.sources.items()}

    def _audit(self, run: PlannedRun, wanted: Measurement) -> list[str]:
        limits = [*_option("examples", AUDITED.get(self.scale)), *_option("budget", AUDIT_BUDGET.get(self.scale))]
        return ["audit", *self._common(run), *_option("attacks", wanted.reference), *limits, "--", str(self.folder(run))]

    def _common(self, run: PlannedRun) -> list[str]:
        return ["--device", self.device, *_option("data-dir", self.data_folder(run.recipe))]

    def data_folder(self, recipe: str) -> Path | None:
        """Where a recipe's images are: in the folder of its data set if ``data_dir`` has one, else in that itself.

        Raises:
            InputError: for a folder of other data sets.
        """
        data_set = recipe_of(recipe).at_scale(self.scale)["data"]["class_path"].rpartition(".")[2]
        if self.data_dir is None or not self.data_dir.is_dir() or data_set not in FOLDERS:
            return self.data_dir
        inside = {path.name for path in self.data_dir.iterdir()}
        names = [*FOLDERS[data_set], *STAND_IN.get(self.scale, {}).get(data_set, ())]
        found = next((name for name in names if name in inside), None)
        if found is None and (others := sorted(inside & {name for names in FOLDERS.values() for name in names})):
            raise InputError(f"--data-dir: '{self.data_dir}' holds {', '.join(others)}, and no {names[0]} for {recipe}")
        return self.data_dir / found if found else self.data_dir

    def seconds(self, step: Step) -> float | None:
        """What the step takes, as like ones did; None where none is known."""
        return self._times.get((step.run.recipe, step.kind))

    @cached_property
    def _times(self) -> dict[tuple[str, str], float]:
        """By recipe and kind of step the mean of the runs at this scale that have done it, or else of the recorded ones."""
        found: dict[tuple[str, str], float] = {}
        for recipe in {run.recipe for run in self.runs}:
            runs, records = ([*(f / recipe / self.scale).glob("**/seed-*")] for f in (self.out / "runs", self.records_folder))
            evaluations, audits = (
                [read_whole(each / RECORDED[kind], kind) for each in records] for kind in (EvaluationResults, AuditResults)
            )
            trainings = [evaluation and evaluation.training for evaluation in evaluations]
            before = {"train": trainings, "evaluate": evaluations, "audit": audits}
            for step, kind in RECORD_OF.items():
                here = [in_run_directory(run, kind) for run in runs]
                done = [*filter(None, here)] or [*filter(None, before[step])]
                times = [record.seconds if isinstance(record, Training) else record.wall_time_seconds for record in done]
                if times:
                    found[recipe, step] = statistics.fmean(times)
        return found


def _option(name: str, value: object) -> list[str]:
    return [] if value is None else [f"--{name}={value}"]
