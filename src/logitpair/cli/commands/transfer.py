"""``logitpair transfer``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_options, check_folder, check_options
from logitpair.cli.task import joined
from logitpair.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="two or more run directories, trained on one data set")
    add_options(parser, "attacks", help="as for `logitpair evaluate`; those of the first run's recipe by default")
    add_options(parser, "data-dir", "examples", "batch-size", "seed")
    add_options(parser, "out", type=Path, default=Path("transfer"), help="folder for the adversarial images and the page")
    add_options(parser, "name", default="transfer", help="results go to evaluation/NAME of each run")
    add_options(parser, "device")


def run(arguments: Namespace) -> None:
    """Evaluate every run as a target, print the matrix, write each run's evaluation ``transfer`` and the page."""
    check_options(arguments)
    check_folder(arguments.out)
    paths = {path.resolve().name: path for path in arguments.runs}
    if len(paths) < max(2, len(arguments.runs)):
        raise InputError(f"RUN: {len(arguments.runs)} given, {len(paths)} names; accepted: two or more, whose folders have different names")
    from msgspec.structs import replace

    from logitpair.cli.terminal import console, print_rows
    from logitpair.evaluation.attack_run import check_name
    from logitpair.evaluation.transfer import transfer
    from logitpair.report.pages.run_page import write_report
    from logitpair.runs.evaluation_task import EvaluationTask
    from logitpair.runs.overwrite_guard import refuse_overwriting_evaluation
    from logitpair.storage.results import SourceRun

    for name in paths:
        check_name("RUN", name)
    with joined(arguments) as world:
        options = {name: arguments[name] for name in ("attacks", "data_dir", "examples", "batch_size")}
        tasks = {name: EvaluationTask.from_run(path, device=world.device, **options) for name, path in paths.items()}
        (first_name, first), *others = tasks.items()
        for name, task in others:
            if task.record.data != first.record.data:
                names = [each.record.data.name for each in (first, task) if each.record.data]
                raise InputError(f"RUN: {first_name} was trained on {names[0]} and {name} on {names[1]}; a transfer needs one data set")
        tasks = {name: task.under(first.attacks) for name, task in tasks.items()}
        for name, path in paths.items():
            refuse_overwriting_evaluation(path / "evaluation" / arguments.name, tasks[name], set(paths) - {name})
        matrix = transfer(
            {name: task.model for name, task in tasks.items()},
            first.test,
            attacks=first.attacks,
            folder=arguments.out,
            name=arguments.name,
            seed=arguments.seed,
            batch_size=first.batch_size,
            workers=first.workers,
            world=world,
        )
        if not world.is_main:
            return
        runs = {name: SourceRun(run=path.as_posix(), step=tasks[name].record.step or 0) for name, path in paths.items()}
        for name, evaluation in matrix.evaluations.items():
            sources = {source: run for source, run in runs.items() if source != name}
            evaluation.with_task(replace(tasks[name].record, sources=sources)).save(paths[name] / "evaluation" / arguments.name)
        matrix.clear(arguments.out)
        page = arguments.out / "report.html"
        write_report(arguments.runs, page)
        console.print(
            "Accuracy in percent on images made against the run of the line, tried on that of the column; white box on the diagonal"
        )
        print_rows(("made against", *paths), matrix.rows())
        console.print(f"Wrote evaluation/{arguments.name}/results.json into each run, and {page}")
