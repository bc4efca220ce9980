"""``logitpair demo``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_folder, check_options, device_of

RECIPES = ("digits-plain", "digits-mpgd", "digits-alp")
COLUMNS = ("run", "clean %", "white box %", "95% interval", "black box, worst %")


def add_arguments(parser: ArgumentParser) -> None:
    add_options(parser, "out", type=Path, default=Path("demo"), help="folder for the three runs and the report")
    add_options(parser, "seed", help="of training and attacks")
    add_options(parser, "device")


def run(arguments: Namespace) -> None:
    """Train, evaluate white box and black box (each from the other two), report."""
    check_options(arguments)
    check_folder(arguments.out)
    device = device_of(arguments.device)
    from logitpair.cli.terminal import console, print_rows
    from logitpair.config import parsing, recipes
    from logitpair.evaluation.confidence import percent
    from logitpair.report.pages.run_page import write_report
    from logitpair.runs import run_directory
    from logitpair.runs.evaluation_task import EvaluationTask
    from logitpair.training.train import train

    folders = {name: arguments.out / name for name in RECIPES}
    for number, (name, folder) in enumerate(folders.items(), 1):
        console.print(f"[bold]{name}[/bold], network {number} of {len(folders)}", markup=True)
        settings = parsing.resolve(recipes.load(name).run, ["--seed", str(arguments.seed)])
        run_directory.prepare(folder, name, None, settings)
        train(settings.config, folder, device=device)
    rows: list[tuple[str, ...]] = []
    for name, folder in folders.items():
        sources = {other: path for other, path in folders.items() if other != name}
        task, results = EvaluationTask.from_run(folder, device=device), folder / "evaluation" / "test"
        evaluation = task.evaluate(results, sources=sources, seed=arguments.seed)
        evaluation.save(results)
        record = evaluation.record
        interval, black_box = " - ".join(map(percent, record.white_box.ci95)), min(each.top1 for each in record.black_box.values())
        rows.append((name, percent(record.clean.top1), percent(record.white_box.top1), interval, percent(black_box)))
    page = arguments.out / "report.html"
    write_report(list(folders.values()), page)
    print_rows(COLUMNS, rows, title="accuracy on the test images")
    console.print(f"Report: {page.resolve()}")
