"""``logitpair evaluate``"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair import distributed
from logitpair.commands.options import add_data_dir, add_device, device_of
from logitpair.console import console, print_rows, print_table
from logitpair.data import count
from logitpair.distributed import World
from logitpair.errors import InputError
from logitpair.evaluate import evaluate
from logitpair.evaluation import Evaluation
from logitpair.subject import Subject, of_run, refuse_smaller, sources_of
from logitpair.verify import COLUMNS, verify

SUMMARY = "accuracy of a run: clean, white box, and black box from other runs"


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("run", type=Path, help="run directory that `logitpair train` wrote")
    parser.add_argument("--source", action="append", type=str, metavar="NAME=RUN", help="another run, for black-box images; repeatable")
    parser.add_argument(
        "--attacks",
        type=str | None,
        default=None,
        help="instead of the recipe's: names such as pgd_76.5_2.55_40 (eps and step size in 1/255, steps) with commas between them, "
        "paper (the paper's eight at the sizes of the recipe's first), or a YAML file; see docs/library.md",
    )
    add_data_dir(parser)
    parser.add_argument("--examples", type=int | None, default=None, help="the first N test images only")
    parser.add_argument("--batch-size", type=int | None, default=None, help="images attacked together (no result depends on it)")
    parser.add_argument("--checkpoint", type=str, default="last", help="last, or best (by white-box accuracy on held-out training images)")
    parser.add_argument("--name", type=str, default="test", help="results go to RUN/evaluation/NAME")
    parser.add_argument("--seed", type=int, default=0, help="of the attacks' randomness")
    parser.add_argument("--keep-adversarial", action="store_true", help="keep every adversarial image, in RUN/evaluation/NAME/adversarial")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="attack nothing: try the images that --keep-adversarial kept again on the checkpoint, as they are and rounded to 8 bits",
    )
    add_device(parser)


def run(arguments: Namespace) -> None:
    """Evaluate, print the table, write ``results.json`` and ``ledger.npz``; or verify what is there."""
    if arguments.checkpoint not in ("last", "best"):
        raise InputError(f"--checkpoint: '{arguments.checkpoint}' is not accepted; accepted: last, best")
    if Path(arguments.name).name != arguments.name:
        raise InputError(f"--name: '{arguments.name}' is not the name of a folder")
    if arguments.examples is not None and arguments.examples < 1:
        raise InputError(f"--examples must be at least 1, not {arguments.examples}")
    folder = arguments.run / "evaluation" / arguments.name
    with distributed.join(device_of(arguments.device)) as world:
        if arguments.verify:
            _verify(arguments, folder, world)
            return
        subject = of_run(
            arguments.run,
            device=world.device,
            which=arguments.checkpoint,
            attacks=arguments.attacks,
            data_dir=arguments.data_dir,
            examples=arguments.examples,
        )
        sources = dict(parse_source(source) for source in arguments.source or [])
        evaluation = evaluate_subject(
            subject,
            folder,
            sources=sources,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            keep_adversarial=arguments.keep_adversarial,
            world=world,
        )
        if world.is_main:
            path = evaluation.save(folder)
            print_table(evaluation)
            console.print(f"Wrote {path}\nNext: logitpair report {arguments.run}")


def evaluate_subject(
    subject: Subject,
    folder: Path,
    *,
    world: World,
    sources: dict[str, Path] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    keep_adversarial: bool = False,
) -> Evaluation:
    """Evaluate, with the work in progress kept in ``folder``; not saved yet.

    Raises:
        InputError: for a folder that holds a larger evaluation, or an option out of range.
    """
    refuse_smaller(folder, count(subject.test))
    networks, known = sources_of(sources or {}, world.device)
    evaluation = evaluate(
        subject.model,
        subject.test,
        attacks=subject.attacks,
        sources=networks,
        curve=subject.curve,
        curve_examples=subject.curve_examples,
        seed=seed,
        batch_size=subject.batch_size if batch_size is None else batch_size,
        workers=subject.workers,
        name=folder.name,
        folder=folder,
        adversarial=folder / "adversarial" if keep_adversarial else None,
        world=world,
    )
    return dataclasses.replace(evaluation, results={**evaluation.results, **subject.about, "sources": known})


def parse_source(text: str) -> tuple[str, Path]:
    """``NAME=RUN`` as a pair.

    Raises:
        InputError: for anything else.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path) or name == "white_box":
        raise InputError(f"--source: '{text}' is not NAME=RUN, such as copy=runs/mnist-alp-2")
    return name, Path(path)


def _verify(arguments: Namespace, folder: Path, world: World) -> None:
    """Try the kept images again; an error where they do not do what the evaluation says."""
    evaluation = Evaluation.load(folder)
    examples = evaluation.results["examples"]
    subject = of_run(
        arguments.run,
        device=world.device,
        which=arguments.checkpoint,
        data_dir=arguments.data_dir,
        examples=examples,
    )
    verification = verify(subject.model, subject.test, evaluation, folder / "adversarial", batch_size=arguments.batch_size or 256)
    print_rows(COLUMNS, verification.rows())
    console.print(f"Wrote {verification.save(folder)}")
    if not verification.holds:
        raise InputError(f"--verify: {arguments.run}: the adversarial images do not do what '{folder / 'results.json'}' says")
