"""``logitpair evaluate``"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair import distributed
from logitpair.commands.options import add_data_dir, add_device, check_folder_name, device_of, refuse_given
from logitpair.console import console, print_rows, print_table
from logitpair.data import Photos
from logitpair.distributed import World
from logitpair.errors import InputError
from logitpair.evaluate import evaluate
from logitpair.evaluation import Evaluation
from logitpair.models import image_size
from logitpair.subject import Subject, of_model, of_run, refuse_overwriting, sources_of
from logitpair.trials import check_name
from logitpair.verify import COLUMNS, verify

SUMMARY = "accuracy of a run, or of a model of yours: clean, white box, and black box from other runs"
PATIENCE = timedelta(days=7)  # of processes whose share is done: some images take many times as long as others
OF_ATTACKING = ("source", "attacks", "examples", "seed", "keep_adversarial")
OF_A_MODEL = ("weights", "pretrained", "classes", "mean", "std", "labels", "size", "resize", "out")


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "run", nargs="?", type=Path | None, default=None, help="run directory that `logitpair train` wrote; or give --model"
    )
    parser.add_argument(
        "--model",
        type=str | None,
        default=None,
        help="a network that logitpair did not train: timm:resnet18, a TorchScript file, or an import path; tested on the photos in "
        "--data-dir (docs/own-models.md)",
    )
    parser.add_argument("--weights", type=Path | None, default=None, help="with --model: its state_dict (.pt, .safetensors)")
    parser.add_argument("--pretrained", action="store_true", help="with --model timm:NAME: the published weights, which are downloaded")
    parser.add_argument("--classes", type=int | None, default=None, help="with --model timm:NAME: its number of logits")
    parser.add_argument("--mean", type=str | None, default=None, help="with --model: what it is normalised by, as 0.485,0.456,0.406")
    parser.add_argument("--std", type=str | None, default=None, help="with --model: likewise, as 0.229,0.224,0.225")
    parser.add_argument("--labels", type=Path | None, default=None, help="with --model: file of class names in the order of the logits")
    parser.add_argument(
        "--size", type=int | None, default=None, help="with --model: height and width of its images in pixels (default: timm's, else 224)"
    )
    parser.add_argument("--resize", type=int | None, default=None, help="with --model: the shorter side before the centre is cropped")
    parser.add_argument("--out", type=Path | None, default=None, help="with --model: folder of the results; runs/MODEL by default")
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
    if arguments.examples is not None and arguments.examples < 1:
        raise InputError(f"--examples must be at least 1, not {arguments.examples}")
    sources = parse_sources(arguments.source or [])
    run = out_of(arguments)
    folder = run / "evaluation" / arguments.name
    with distributed.join(device_of(arguments.device), patience=PATIENCE) as world:
        if arguments.verify:
            if world.is_main:
                _verify(arguments, run, folder, world)
            return
        evaluation = evaluate_subject(
            subject_of(arguments, world, arguments.examples),
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


def out_of(arguments: Namespace) -> Path:
    """The folder that holds the evaluations.

    Raises:
        InputError: for neither a run nor a model, both, options of one given to the other, or options of attacking given to --verify.
    """
    if (arguments.run is None) == (arguments.model is None):
        raise InputError("RUN: give either a run directory or --model" + (", not both" if arguments.run else ""))
    if arguments.verify:
        refuse_given(arguments, OF_ATTACKING, "goes with attacking; --verify attacks nothing, and tries all images of the evaluation again")
    if arguments.run is None:
        refuse_given(arguments, ("checkpoint",), "goes with a run; a model is given by --model and --weights")
        path = Path(arguments.model)
        return arguments.out or Path("runs") / re.sub(r"[^\w.-]+", "-", path.stem if path.is_file() else arguments.model)
    refuse_given(arguments, OF_A_MODEL, "goes with --model; a run has its own")
    return arguments.run


def subject_of(arguments: Namespace, world: World, examples: int | None) -> Subject:
    """The run, or the model on its photos.

    Raises:
        InputError: for what cannot be read, and for options that are missing.
    """
    if arguments.run is not None:
        return of_run(
            arguments.run,
            device=world.device,
            which=arguments.checkpoint or "last",
            attacks=arguments.attacks,
            data_dir=arguments.data_dir,
            examples=examples,
        )
    if arguments.attacks is None and not arguments.verify:
        raise InputError(
            "--attacks is not given; a model without a recipe needs it, such as pgd_4_1_10 (eps and step size in 1/255, steps)"
        )
    return of_model(
        arguments.model,
        Photos(
            root=arguments.data_dir,
            size=image_size(arguments.model) if arguments.size is None else arguments.size,
            resize=arguments.resize,
            labels=arguments.labels,
        ),
        device=world.device,
        attacks=arguments.attacks or "fgsm_1",
        examples=examples,
        weights=arguments.weights,
        classes=arguments.classes,
        pretrained=arguments.pretrained,
        mean=numbers("--mean", arguments.mean),
        std=numbers("--std", arguments.std),
    )


def numbers(option: str, text: str | None) -> list[float] | None:
    """``0.485,0.456,0.406`` as numbers.

    Raises:
        InputError: for anything else.
    """
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option}: '{text}' is no list of numbers such as 0.485,0.456,0.406") from error


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
        InputError: for a folder that holds a larger evaluation or another network's, or an option out of range.
    """
    refuse_overwriting(folder, subject, sources or (), kept=keep_adversarial)
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


def parse_sources(texts: Sequence[str]) -> dict[str, Path]:
    """Every ``NAME=RUN``, by name.

    Raises:
        InputError: for anything else, and for a name that is given twice or is the ledger's own.
    """
    pairs = [parse_source(text) for text in texts]
    for name, times in Counter(name for name, _ in pairs).items():
        check_name("--source", name)
        if times > 1:
            raise InputError(f"--source: '{name}' names {times} runs; accepted: every name once")
    return dict(pairs)


def parse_source(text: str) -> tuple[str, Path]:
    """``NAME=RUN`` as a pair.

    Raises:
        InputError: for anything else.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise InputError(f"--source: '{text}' is not NAME=RUN, such as copy=runs/mnist-alp-2")
    return name, Path(path)


def _verify(arguments: Namespace, run: Path, folder: Path, world: World) -> None:
    """Try the kept images again; an error where they do not do what the evaluation says."""
    if not (folder / "results.json").exists():
        there = [path.parent.name for path in sorted(run.glob("evaluation/*/results.json"))]
        raise InputError(f"--name: '{run}' has no evaluation '{folder.name}'; it has {', '.join(there) or 'none'}")
    evaluation = Evaluation.load(folder)
    if arguments.model is None:
        arguments.checkpoint = arguments.checkpoint or evaluation.results.get("checkpoint")
    subject = subject_of(arguments, world, evaluation.results["examples"])
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
