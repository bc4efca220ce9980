"""``logitpair demo``"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.commands.evaluate import evaluate_subject
from logitpair.cli.options import add_device, check_folder, device_of
from logitpair.cli.tables import comparison_table
from logitpair.config import recipes
from logitpair.report import write_report
from logitpair.runs import run_directory as runs
from logitpair.runs.evaluation_task import of_run
from logitpair.runtime.distributed import World
from logitpair.runtime.progress import console
from logitpair.training.train import train

SUMMARY = "train plain, M-PGD and ALP on embedded digits, evaluate, report: a minute or two"
RECIPES = ("digits-plain", "digits-mpgd", "digits-alp")


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the three runs and the report")
    parser.add_argument("--seed", type=int, default=0, help="of training and attacks")
    add_device(parser)


def run(arguments: Namespace) -> None:
    """Train, evaluate white box and black box (each from the other two), report."""
    check_folder(arguments.out)
    device = device_of(arguments.device)
    folders = {name: arguments.out / name for name in RECIPES}
    for number, (name, folder) in enumerate(folders.items(), 1):
        console.print(f"[bold]{name}[/bold], network {number} of {len(folders)}")
        settings = recipes.resolve(recipes.load(name).run, ["--seed", str(arguments.seed)])
        runs.prepare(folder, name, None, settings)
        train(settings.config, folder, device=device)
    evaluations = {}
    for name, folder in folders.items():
        sources = {other: path for other, path in folders.items() if other != name}
        results = folder / "evaluation" / "test"
        subject = of_run(folder, device=device)
        evaluations[name] = evaluate_subject(subject, results, sources=sources, seed=arguments.seed, world=World(0, 1, device))
        evaluations[name].save(results)
    page = arguments.out / "report.html"
    write_report(list(folders.values()), page)
    console.print(comparison_table(evaluations))
    console.print(f"Report: {page.resolve()}")
