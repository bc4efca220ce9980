"""Carrying a plan out: its steps in processes that end with this one, by the commands of ``train``, ``evaluate`` and ``audit``."""

import contextlib
import logging
from pathlib import Path
from typing import Any

import torch

from logitpair.config import parsing
from logitpair.errors import InputError
from logitpair.reproduction.plan import RECORD_OF, Plan, Step
from logitpair.reproduction.planned_run import recipe_of
from logitpair.reproduction.record_files import FILES, WRITER, in_run_directory
from logitpair.runs import run_directory
from logitpair.runtime.progress import Progress
from logitpair.runtime.signals import GracefulStop
from logitpair.storage.atomic_files import is_json
from logitpair.storage.result_files import OtherSchema, read_record
from logitpair.storage.results import EvaluationResults, Training
from logitpair.sweeps.runner import Commands, refuse_torchrun, run_all
from logitpair.sweeps.sweep import slots

logger = logging.getLogger("logitpair")


def prepare(plan: Plan, device: torch.device) -> None:
    """Begin every run directory that is to be trained, and look at all that is needed, before the first training starts.

    Directories that are trained already are left as they are.

    Raises:
        InputError: for settings that cannot be, run directories that were begun with others or hold damaged results, and images that
            are missing or damaged.
    """
    refuse_torchrun("reproduce")
    left = plan.left().values()
    for step in left:
        _refuse_damaged(plan.folder(step.run), step.kind)
        _refuse_of_more(plan, step)
    unfinished, to_train = {step.run for step in left}, {step.run for step in left if step.kind == "train"}
    seen: set[str] = set()
    for run in plan.runs:
        recipe = recipe_of(run.recipe)
        settings = parsing.resolve(recipe.at_scale(plan.scale), plan.overrides(run), data_dir=plan.data_folder(run.recipe))
        data, images = settings.config.data, repr(settings.values["data"])
        if run in unfinished and images not in seen:
            logger.info(f"{data.name}: looking at its images" + (f" in {folder}" if (folder := plan.data_folder(run.recipe)) else ""))
            data.train()
            data.test()
            seen.add(images)
        wanted = run_directory.as_trained(settings, device)
        if run in to_train:
            run_directory.prepare(plan.folder(run), recipe.name, plan.scale, wanted, neutral=_only_moved)
        else:
            run_directory.refuse_other_settings(plan.folder(run), wanted, neutral=_only_moved)


def _only_moved(setting: str, old: Any, now: Any) -> bool:
    """Whether static sources are the runs that they were, ``RECIPE/SCALE/seed-N``, in another ``OUT``."""

    def runs(sources: Any) -> Any:
        return [source | {"init_args": source["init_args"] | {"run": Path(source["init_args"]["run"]).parts[-3:]}} for source in sources]

    with contextlib.suppress(KeyError, TypeError):  # of sources that are no runs
        return setting == "objective.init_args.sources" and runs(old) == runs(now)
    return False


def _refuse_damaged(run_directory: Path, step: str) -> None:
    """Refuse results of a step that its command would neither read nor write over; of a training that a crash cut, it does."""
    path = run_directory / FILES[RECORD_OF[step]]
    if not path.exists() or (step == "train" and not is_json(path)):
        return
    try:
        read_record(path, RECORD_OF[step], WRITER)
    except OtherSchema:
        pass  # which the command sets aside
    except InputError as error:
        raise InputError(f"--out: {str(error).rpartition('; ')[0]}; move it away, and the same command does it again") from error


def _refuse_of_more(plan: Plan, step: Step) -> None:
    """Refuse results that the command of their step would not write over, or that need a source which is no more."""
    kind = RECORD_OF[step.kind]
    results, path = in_run_directory(plan.folder(step.run), kind), plan.folder(step.run) / FILES[kind]
    if results is None or isinstance(results, Training):
        return  # a training goes on
    if lost := plan.to_measure[step.run].loses(results):
        what = " and ".join(lost)
        raise InputError(f"--out: '{path}' is {what}, unlike the tables'; move it away, and the same command does it again")
    sources = plan.sources_before(step.run, results) if isinstance(results, EvaluationResults) else {}
    for name, source in sources.items():
        if not source.exists():
            raise InputError(
                f"--out: '{path}' has images from {name}, and its network is not at '{source}'; bring it back, or move the other away"
            )


def carry_out(plan: Plan, *, jobs: int | None, device: torch.device) -> dict[str, str]:
    """Do what is left of a plan that is prepared, in ``jobs`` processes side by side; returns why steps failed, by their names.

    What needs a failed one is left out.

    Raises:
        InputError: for what a command refuses when it sees its data and its network.
        KeyboardInterrupt: after SIGINT or SIGTERM; the steps under way are saved, and the same plan goes on.
    """
    total, left = len(plan.steps()), plan.left()
    logger.info(f"{total} steps, {total - len(left)} of them finished before -> {plan.out}")
    if plan.records:
        there = "" if plan.records.exists() else ", which does not exist yet"
        logger.info(f"{len(plan.recorded)} of {len(plan.measurements)} runs are recorded in {plan.records}{there}; they are not repeated")
    failed: dict[str, str] = {}
    processes: dict[str, list[str]] = {}  # the steps of each
    begun: set[str] = set()

    def ready() -> dict[str, Commands]:
        new = plan.ready(begun)
        processes.update({name: [step.name(plan.scale) for step in steps] for name, steps in new.items()})
        begun.update(*(processes[name] for name in new))
        return {name: [step.command for step in steps] for name, steps in new.items()}

    def begin(name: str) -> None:
        logger.info(f"{name} begins")
        bar.describe(name)

    with GracefulStop() as stop, Progress("steps", total, total - len(left), unit=None) as bar:
        try:
            running = run_all(ready(), slots(jobs, device), lambda: stop.requested, then=ready, begin=begin)
            with contextlib.closing(running) as outcomes:
                for name, outcome in outcomes:
                    left = plan.left()
                    if outcome.code:
                        name, *after = [step for step in processes[name] if step in left] or [name]
                        failed[name] = outcome.message  # which is said at the end
                        begun.difference_update(after)  # what does not need the failed one begins by itself
                    logger.info(f"{name} {'failed' if outcome.code else 'done'}")
                    bar.update(total - len(left))
        except KeyboardInterrupt as error:
            done = total - len(plan.left())
            raise KeyboardInterrupt(f"stopped with {done} of {total} steps finished; the same command again goes on") from error
    return failed
