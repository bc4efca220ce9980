"""``logitpair transfer``"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.attacks import Attack
from logitpair.cli.options import add_data_dir, add_device, check_folder, check_folder_name, check_numbers, device_of
from logitpair.errors import InputError
from logitpair.evaluation.attack_run import check_name
from logitpair.evaluation.transfer import transfer
from logitpair.report import write_report
from logitpair.runs.evaluation_task import EvaluationTask, of_run, refuse_overwriting, task_of
from logitpair.runtime import distributed
from logitpair.runtime.progress import console, print_rows

SUMMARY = "black box between several runs: images made against each, tried on all the others"
PATIENCE = timedelta(days=7)  # of processes whose share is done


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="two or more run directories, trained on one data set")
    parser.add_argument(
        "--attacks", type=str | None, default=None, help="as for `logitpair evaluate`; those of the first run's recipe by default"
    )
    add_data_dir(parser)
    parser.add_argument("--examples", type=int | None, default=None, help="the first N test images only")
    parser.add_argument("--batch-size", type=int | None, default=None, help="images attacked together")
    parser.add_argument("--seed", type=int, default=0, help="of the attacks' randomness")
    parser.add_argument("--out", type=Path, default=Path("transfer"), help="folder for the adversarial images and the page")
    parser.add_argument("--name", type=str, default="transfer", help="results go to evaluation/NAME of each run")
    add_device(parser)


def run(arguments: Namespace) -> None:
    """Evaluate every run as a target, print the matrix, write each run's evaluation ``transfer`` and the page."""
    check_numbers(arguments, ("examples", "batch_size"), least=1)
    check_folder(arguments.out)
    check_folder_name("--name", arguments.name)
    paths = {path.resolve().name: path for path in arguments.runs}
    if len(paths) < max(2, len(arguments.runs)):
        raise InputError(f"RUN: {len(arguments.runs)} given, {len(paths)} names; accepted: two or more, whose folders have different names")
    for name in paths:
        check_name("RUN", name)
    with distributed.join(device_of(arguments.device), patience=PATIENCE) as world:
        subjects = {
            name: of_run(path, device=world.device, attacks=arguments.attacks, data_dir=arguments.data_dir, examples=arguments.examples)
            for name, path in paths.items()
        }
        (first_name, first), *others = subjects.items()
        for name, subject in others:
            if subject.about["data"] != first.about["data"]:
                ours, theirs = first.about["data"]["name"], subject.about["data"]["name"]
                raise InputError(f"RUN: {first_name} was trained on {ours} and {name} on {theirs}; a transfer needs one data set")
        subjects = {name: _under(first.attacks, subject) for name, subject in subjects.items()}
        for name, path in paths.items():
            refuse_overwriting(path / "evaluation" / arguments.name, subjects[name], set(paths) - {name})
        matrix = transfer(
            {name: subject.model for name, subject in subjects.items()},
            first.test,
            attacks=first.attacks,
            folder=arguments.out,
            seed=arguments.seed,
            batch_size=first.batch_size if arguments.batch_size is None else arguments.batch_size,
            workers=first.workers,
            name=arguments.name,
            world=world,
        )
        if not world.is_main:
            return
        for name, evaluation in matrix.evaluations.items():
            others = {other: {"run": path.as_posix(), "step": subjects[other].about["step"]} for other, path in paths.items()}
            about = {**subjects[name].about, "sources": {other: known for other, known in others.items() if other != name}}
            evaluation.with_task(task_of(about)).save(paths[name] / "evaluation" / arguments.name)
        matrix.clear(arguments.out)
        page = arguments.out / "report.html"
        write_report(list(paths.values()), page)
        console.print(
            "Accuracy in percent on images made against the run of the line, tried on that of the column; white box on the diagonal"
        )
        print_rows(("made against", *paths), matrix.rows())
        console.print(f"Wrote evaluation/{arguments.name}/results.json into each run, and {page}")


def _under(attacks: Mapping[str, Attack], subject: EvaluationTask) -> EvaluationTask:
    """The subject under these attacks, without numbers that were published for others."""
    if attacks == subject.attacks:
        return subject
    return dataclasses.replace(subject, attacks=attacks, about={**subject.about, "published": []})
