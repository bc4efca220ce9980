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
    """Do what is left, ``jobs`` steps side by side; returns why steps failed, by their name. What needs a failed one is left out.

    Raises:
        InputError: for what a command refuses when it sees its data and its network.
        KeyboardInterrupt: after SIGINT or SIGTERM; the steps under way are saved, and the same plan goes on.
    """
    refuse_torchrun("reproduce")
    prepare(plan, device)
    steps = plan.steps()
    done = sum(step.done for step in steps)
    logger.info(f"{len(steps)} steps, {done} of them finished before -> {plan.out}")
    failed: dict[str, str] = {}
    begun: dict[str, str] = {}  # a step's name to its process's

    def ready() -> dict[str, Commands]:
        processes = plan.ready(begun)
        begun.update({step.name(plan.scale): name for name, steps in processes.items() for step in steps})
        return {name: [step.command for step in steps] for name, steps in processes.items()}

    def begin(name: str) -> None:
        logger.info(f"{name} begins")
        bar.describe(name)

    with GracefulStop() as stop, Progress("steps", len(steps), done, unit=None) as bar:
        try:
            running = run_all(ready(), slots(jobs, device), lambda: stop.requested, then=ready, begin=begin)
            with contextlib.closing(running) as outcomes:
                for name, outcome in outcomes:
                    logger.info(f"{name} {'failed' if outcome.code else 'done'}")  # why is said at the end
                    if outcome.code:
                        failed[name] = outcome.message
                    bar.advance(list(begun.values()).count(name))
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("stopped; the same command again goes on") from error
    return failed
