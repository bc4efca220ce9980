"""Carrying a plan out: its steps in processes that end with this one, by the commands of ``train``, ``evaluate`` and ``audit``."""

import contextlib
import logging

import torch

from logitpair.config import parsing
from logitpair.reproduction.plan import Plan
from logitpair.reproduction.records import recipe_of
from logitpair.runs import run_directory
from logitpair.runtime.progress import Progress
from logitpair.runtime.signals import GracefulStop
from logitpair.sweeps.runner import Commands, refuse_torchrun, run_all
from logitpair.sweeps.sweep import slots

logger = logging.getLogger("logitpair")


def prepare(plan: Plan, device: torch.device) -> None:
    """Begin every run directory, or make sure that it was begun with the same settings, before the first training starts.

    Raises:
        InputError: for settings that cannot be, and for run directories that were begun with others.
    """
    for run in plan.runs:
        recipe = recipe_of(run.recipe)
        settings = parsing.resolve(recipe.at_scale(plan.scale), plan.overrides(run), data_dir=plan.data_folder(run.recipe))
        run_directory.prepare(plan.folder(run), recipe.name, plan.scale, run_directory.as_trained(settings, device))


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
    return failed
