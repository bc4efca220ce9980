"""Carrying a plan out: its steps in processes that end with this one, by the commands of ``train``, ``evaluate`` and ``audit``."""

import contextlib
import logging

import torch

from logitpair.config import parsing
from logitpair.errors import InputError
from logitpair.reproduction.plan import Plan
from logitpair.reproduction.planned_run import recipe_of
from logitpair.runs import run_directory
from logitpair.runtime.progress import Progress
from logitpair.runtime.signals import GracefulStop
from logitpair.sweeps.runner import Commands, refuse_torchrun, run_all
from logitpair.sweeps.sweep import slots

logger = logging.getLogger("logitpair")
SOURCES = "objective.init_args.sources"


def prepare(plan: Plan, device: torch.device) -> None:
    """Begin every run directory that is to be trained, and look at its images, before the first training starts.

    The directories that are trained already are left as they are, and must have been begun with the same settings. Static sources may
    have another path than they had: they are where the plan has them.

    Raises:
        InputError: for settings that cannot be, run directories that were begun with others, and images that are missing or damaged.
    """
    to_train = {step.run for step in plan.left().values() if step.kind == "train"}
    seen: set[str] = set()
    for run in plan.runs:
        recipe = recipe_of(run.recipe)
        settings = parsing.resolve(recipe.at_scale(plan.scale), plan.overrides(run), data_dir=plan.data_folder(run.recipe))
        wanted = run_directory.as_trained(settings, device)
        if run not in to_train:
            run_directory.refuse_other_settings(plan.folder(run), wanted, besides=(SOURCES,))
            continue
        if (images := repr(settings.values["data"])) not in seen:
            logger.info(f"{settings.config.data.name}: looking at its images")
            settings.config.data.train()
            seen.add(images)
        run_directory.prepare(plan.folder(run), recipe.name, plan.scale, wanted, besides=(SOURCES,))


def carry_out(plan: Plan, *, jobs: int | None, device: torch.device) -> dict[str, str]:
    """Do what is left, in ``jobs`` processes side by side; returns why steps failed, by their names. What needs a failed one is left out.

    Raises:
        InputError: for what a command refuses when it sees its data and its network.
        KeyboardInterrupt: after SIGINT or SIGTERM; the steps under way are saved, and the same plan goes on.
    """
    refuse_torchrun("reproduce")
    prepare(plan, device)
    total, left = len(plan.steps()), plan.left()
    logger.info(f"{total} steps, {total - len(left)} of them finished before -> {plan.out}")
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
            raise KeyboardInterrupt("stopped; the same command again goes on") from error
        except InputError as error:
            refusal, advice, _ = str(error).partition("; give another --")  # as `evaluate` would have it: there is no --name here
            raise InputError(f"{refusal}; move that folder away" if advice else refusal) from error
    return failed
