"""``logitpair demo``"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_folder, device_of

RECIPES = ("digits-plain", "digits-mpgd", "digits-alp")


def add_arguments(parser: ArgumentParser) -> None:
    add_options(parser, "out", type=Path, default=Path("demo"), help="folder for the three runs and the report")
    add_options(parser, "seed", help="of training and attacks")
    add_options(parser, "device")


def run(arguments: Namespace) -> None:
    """Train, evaluate white box and black box (each from the other two), report."""
    check_folder(arguments.out)
    device = device_of(arguments.device)
    from logitpair.cli.tables import comparison_table
    from logitpair.config import parsing, recipes
    from logitpair.report.pages.run_page import write_report
    from logitpair.runs import run_directory
    from logitpair.runs.evaluate_task import evaluate_task
    from logitpair.runs.evaluation_task import EvaluationTask
    from logitpair.runtime.distributed import World
    from logitpair.runtime.progress import console
    from logitpair.training.train import train

    folders = {name: arguments.out / name for name in RECIPES}
    for number, (name, folder) in enumerate(folders.items(), 1):
        console.print(f"[bold]{name}[/bold], network {number} of {len(folders)}")
        settings = parsing.resolve(recipes.load(name).run, ["--seed", str(arguments.seed)])
        run_directory.prepare(folder, name, None, settings)
        train(settings.config, folder, device=device)
    evaluations = {}
    for name, folder in folders.items():
        sources = {other: path for other, path in folders.items() if other != name}
        results = folder / "evaluation" / "test"
        task = EvaluationTask.from_run(folder, device=device)
        evaluations[name] = evaluate_task(task, results, sources=sources, seed=arguments.seed, world=World(0, 1, device))
        evaluations[name].save(results)
    page = arguments.out / "report.html"
    write_report(list(folders.values()), page)
    console.print(comparison_table(evaluations))
    console.print(f"Report: {page.resolve()}")
