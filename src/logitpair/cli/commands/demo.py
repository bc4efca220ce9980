"""``logitpair demo``"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_folder, check_options, device_of

if TYPE_CHECKING:
    import torch

    from logitpair.sweeps.runner import Commands

RECIPES = ("digits-plain", "digits-mpgd", "digits-alp")
COLUMNS = ("run", "clean %", "white box %", "95% interval", "black box, worst %")


def add_arguments(parser: ArgumentParser) -> None:
    add_options(parser, "out", type=Path, default=Path("demo"), help="folder for the three runs and the report")
    add_options(parser, "seed", help="of training and attacks")
    add_options(parser, "jobs", help="networks side by side, each on one thread of the CPU; all three by default")
    add_options(parser, "device")


def run(arguments: Namespace) -> None:
    """Train, evaluate white box and black box (each from the other two), report."""
    check_options(arguments)
    check_folder(arguments.out)
    device = device_of(arguments.device)
    from logitpair.cli.terminal import console
    from logitpair.config import parsing, recipes
    from logitpair.report.pages.run_page import write_report
    from logitpair.runs import run_directory
    from logitpair.sweeps.runner import refuse_torchrun

    refuse_torchrun("demo")
    folders = {name: arguments.out / name for name in RECIPES}
    common = [f"--seed={arguments.seed}", f"--device={device.type}"]
    trainings: dict[str, Commands] = {}
    evaluations: dict[str, Commands] = {}
    for name, folder in reversed(folders.items()):  # the short one last, so that all end at about the same time
        recipe = recipes.load(name)
        settings = parsing.resolve(recipe.run, common[:1])
        run_directory.prepare(folder, recipe.name, None, run_directory.as_trained(settings, device))
        sources = [f"--source={other}={path}" for other, path in folders.items() if other != name]
        trainings[name] = [["train", name, f"--out={folder}", *common]]
        evaluations[name] = [["evaluate", *sources, *common, "--", str(folder)]]
    _side_by_side((trainings, evaluations), arguments.jobs, device)
    page = arguments.out / "report.html"
    write_report(list(folders.values()), page)
    _print(folders.values())
    console.print(f"Report: {page.resolve()}")


def _side_by_side(waves: Iterable[dict[str, Commands]], jobs: int | None, device: torch.device) -> None:
    """Carry out one wave after the other; a network takes one thread, for each is too small for a second one.

    All side by side leave no core idle while the last one ends, even where there are fewer cores than networks.
    """
    from logitpair.cli.terminal import console
    from logitpair.runtime.signals import GracefulStop
    from logitpair.sweeps.runner import run_all
    from logitpair.sweeps.sweep import slots

    places = slots(jobs or len(RECIPES), device, threads=1)
    with GracefulStop() as stop:
        try:
            for wave in waves:
                with contextlib.closing(run_all(wave, places, lambda: stop.requested, shown=True)) as outcomes:
                    for name, outcome in outcomes:
                        done = wave[name][0][0]
                        if outcome.code:
                            raise ArithmeticError(f"{name}: {done} failed: {outcome.message}")
                        console.print(f"{name}: {done} done")
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("stopped; the same command again goes on") from error


def _print(folders: Iterable[Path]) -> None:
    from logitpair.cli.terminal import print_rows
    from logitpair.evaluation.confidence import percent
    from logitpair.storage.result_files import read_record
    from logitpair.storage.results import EvaluationResults

    rows: list[tuple[str, ...]] = []
    for folder in folders:
        record = read_record(folder / "evaluation" / "test" / "results.json", EvaluationResults, "logitpair demo")
        interval, black_box = " - ".join(map(percent, record.worst_case.ci95)), min(each.top1 for each in record.black_box.values())
        rows.append((folder.name, percent(record.clean.top1), percent(record.worst_case.top1), interval, percent(black_box)))
    print_rows(COLUMNS, rows, title="accuracy on the test images")
