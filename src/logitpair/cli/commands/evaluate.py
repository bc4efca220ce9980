"""``logitpair evaluate``"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.options import add_device, check_folder_name, check_numbers, device_of, refuse_given
from logitpair.cli.task_options import PATIENCE, add_subject, blaming, out_of, parse_sources, subject_of
from logitpair.errors import InputError
from logitpair.evaluation.evaluate import evaluate
from logitpair.evaluation.result import Evaluation
from logitpair.evaluation.verify import COLUMNS, verify
from logitpair.runs.evaluation_task import EvaluationTask, refuse_overwriting, sources_of, task_of
from logitpair.runtime import distributed
from logitpair.runtime.distributed import World
from logitpair.runtime.progress import console, print_rows, print_table

SUMMARY = "accuracy of a run, or of a model of yours: clean, white box, and black box from other runs"
OF_ATTACKING = ("source", "attacks", "examples", "seed", "keep_adversarial")


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of the command."""
    add_subject(parser)
    parser.add_argument("--source", action="append", type=str, metavar="NAME=RUN", help="another run, for black-box images; repeatable")
    parser.add_argument(
        "--attacks",
        type=str | None,
        default=None,
        help="instead of the recipe's: names such as pgd_76.5_2.55_40 (eps and step size in 1/255, steps) with commas between them, "
        "paper (the paper's eight at the sizes of the recipe's first), or a YAML file; see docs/library.md",
    )
    parser.add_argument(
        "--checkpoint",
        type=str | None,
        default=None,
        help="last, or best by white-box accuracy on held-out training images (default: last; with --verify the one that was evaluated)",
    )
    parser.add_argument("--name", type=str, default="test", help="results go to RUN/evaluation/NAME (OUT/... with --model)")
    parser.add_argument("--seed", type=int | None, default=None, help="of the attacks' randomness (default: 0)")
    parser.add_argument("--keep-adversarial", action="store_true", help="keep every adversarial image, in RUN/evaluation/NAME/adversarial")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="attack nothing: try the images that --keep-adversarial kept again on the checkpoint, as they are and rounded to 8 bits",
    )
    add_device(parser)


def run(arguments: Namespace) -> None:
    """Evaluate, print the table, write ``results.json`` and ``ledger.npz``; or verify what is there."""
    if arguments.checkpoint not in (None, "last", "best"):
        raise InputError(f"--checkpoint: '{arguments.checkpoint}' is not accepted; accepted: last, best")
    check_folder_name("--name", arguments.name)
    check_numbers(arguments, ("examples", "batch_size"), least=1)
    sources = parse_sources(arguments.source or [])
    if arguments.verify:
        refuse_given(arguments, OF_ATTACKING, "goes with attacking; --verify attacks nothing, and tries all images of the evaluation again")
    run = out_of(arguments)
    folder = run / "evaluation" / arguments.name
    with distributed.join(device_of(arguments.device), patience=PATIENCE) as world, blaming(arguments.model):
        if arguments.verify:
            if world.is_main:
                _verify(arguments, run, folder, world)
            return
        evaluation = evaluate_subject(
            subject_of(arguments, world, arguments.examples, arguments.attacks),
            folder,
            sources=sources,
            batch_size=arguments.batch_size,
            seed=arguments.seed or 0,
            keep_adversarial=arguments.keep_adversarial,
            world=world,
        )
        if world.is_main:
            path = evaluation.save(folder)
            (folder / "verification.json").unlink(missing_ok=True)  # it was another evaluation's
            print_table(evaluation)
            console.print(f"Wrote {path}\nNext: logitpair report {run}")


def evaluate_subject(
    subject: EvaluationTask,
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
        InputError: for a folder that holds a larger evaluation or another network's, or an option out of range.
    """
    refuse_overwriting(folder, subject, sources or (), kept=keep_adversarial)
    networks, known = sources_of(sources or {}, subject.model)
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
    return evaluation.with_task(task_of({**subject.about, "sources": known}))


def _verify(arguments: Namespace, run: Path, folder: Path, world: World) -> None:
    """Try the kept images again; an error where they do not do what the evaluation says."""
    if not (folder / "results.json").exists():
        there = [path.parent.name for path in sorted(run.glob("evaluation/*/results.json"))]
        raise InputError(f"--name: '{run}' has no evaluation '{folder.name}'; it has {', '.join(there) or 'none'}")
    evaluation = Evaluation.load(folder)
    if arguments.model is None:
        arguments.checkpoint = arguments.checkpoint or evaluation.results.get("checkpoint")
    subject = subject_of(arguments, world, evaluation.results["examples"], "fgsm_1" if arguments.model else None)
    verification = verify(
        subject.model,
        subject.test,
        evaluation,
        folder / "adversarial",
        batch_size=256 if arguments.batch_size is None else arguments.batch_size,
    )
    print_rows(COLUMNS, verification.rows())
    console.print(f"Wrote {verification.save(folder)}")
    if not verification.holds:
        raise InputError(f"--verify: {run}: the adversarial images do not do what '{folder / 'results.json'}' says")
